"""Pure functions of the container life cycle: status texts, restarts, names, keys, signals, times."""

import random
import signal
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.api import NETWORK_DRIVERS, EndpointSettings
from netd.common.errors import BadRequest
from netd.drivers import registry
from runtime import signal_numbers
from runtime.container_config import Config, Healthcheck, RestartPolicy
from runtime.engine.containers import health_state
from runtime.engine.containers.names import check_name, free_name
from runtime.engine.options import networking, restart_policy
from runtime.engine.options.detach_keys import DetachKeyDetector, parse
from runtime.engine.views.listing import parse_until
from runtime.engine.views.status import human_duration, status_column

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


def ago(seconds):
    return f"{NOW - timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.123456789Z"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (120, "2 minutes"),
        (3599, "59 minutes"), (3600, "About an hour"), (5400, "2 hours"), (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"), (13 * 86400, "13 days"), (14 * 86400, "2 weeks"), (60 * 86400, "2 months"),
        (730 * 86400, "2 years"), (-5, "Less than a second"),
    ],
)  # fmt: skip
def test_spans_are_told_as_docker_tells_them(seconds, words):
    assert human_duration(seconds) == words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("running", 0, ago(3), ""), "Up 2 seconds"),
        (("paused", 0, ago(125), ""), "Up 2 minutes (Paused)"),
        (("restarting", 3, ago(9), ago(5)), "Restarting (3) 4 seconds ago"),
        (("exited", 137, ago(9), ago(5)), "Exited (137) 4 seconds ago"),
        (("created", 0, ago(9), "0001-01-01T00:00:00Z"), "Created"),
        (("removing", 0, ago(9), ago(5)), "Removal In Progress"),
        (("running", 0, ago(3), "", NOW, "healthy"), "Up 2 seconds (healthy)"),
        (("running", 0, ago(3), "", NOW, "starting"), "Up 2 seconds (health: starting)"),
    ],
)
def test_the_status_column(arguments, words):
    assert status_column(*(arguments if len(arguments) > 4 else (*arguments, NOW))) == words


@pytest.mark.parametrize(
    ("name", "code", "restarts", "stopped", "again", "at_boot"),
    [
        ("no", 1, 0, False, False, False), ("", 1, 0, False, False, False),
        ("always", 0, 99, False, True, True), ("always", 0, 0, True, False, True),
        ("unless-stopped", 0, 0, False, True, True), ("unless-stopped", 0, 0, True, False, False),
        ("on-failure", 0, 0, False, False, False), ("on-failure", 1, 99, False, True, True),
        ("on-failure", 1, 0, True, False, False),
    ],
)  # fmt: skip
def test_who_is_started_again(name, code, restarts, stopped, again, at_boot):
    facts = {"code": code, "restarts": restarts, "stopped": stopped}
    assert restart_policy.should_restart(RestartPolicy(name), **facts) is again
    assert restart_policy.should_restart_after_daemon_start(RestartPolicy(name), **facts) is at_boot


def test_retries_are_counted_and_delays_double_until_a_steady_run():
    three = RestartPolicy("on-failure", 3)
    assert [restart_policy.should_restart(three, code=1, restarts=n, stopped=False) for n in range(4)] == [True] * 3 + [
        False
    ]
    delays, last = [], 0.0
    for _ in range(12):
        last = restart_policy.next_delay(last, runtime=1)
        delays.append(last)
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8] and delays[-1] == 60
    assert restart_policy.next_delay(60, runtime=10) == 0.1


@given(st.integers())
def test_given_names_are_allowed_and_free(seed):
    taken = {free_name((), random.Random(seed))}
    name = free_name(taken, random.Random(seed))
    assert name not in taken and check_name(name) == name


@pytest.mark.parametrize("name", ["a b", "a/b", "-a", "a'b", "é", "a\n", "", "x" * 256, "//a"])
def test_names_that_break_the_rule_are_refused(name):
    with pytest.raises(BadRequest, match="Invalid container name"):
        check_name(name)


def test_a_name_may_come_with_dockers_slash():
    assert check_name("/web") == "web"


@pytest.mark.parametrize(
    ("words", "number"),
    [("TERM", 15), ("sigterm", 15), ("9", 9), ("SIGRTMIN", signal.SIGRTMIN), ("RTMIN+3", signal.SIGRTMIN + 3),
     ("RTMAX-1", signal.SIGRTMAX - 1)],
)  # fmt: skip
def test_signals_are_read(words, number):
    assert signal_numbers.number(words) == number


@pytest.mark.parametrize("words", ["NOPE", "0", "65", "-9", "RTMIN+99", "", "1.5", "٣"])
def test_signals_that_are_none_are_refused(words):
    with pytest.raises(BadRequest, match="invalid signal"):
        signal_numbers.number(words)


def test_detach_keys_are_read():
    assert parse("") == b"\x10\x11" and parse("ctrl-a,x,ctrl-[") == b"\x01x\x1b"
    for wrong in ("ctrl-", "ctrl-1", "ab", "a,,b", "é"):
        with pytest.raises(BadRequest):
            parse(wrong)


@given(data=st.lists(st.binary(max_size=6)), keys=st.sampled_from([b"\x10\x11", b"ab", b"aab", b"x"]))
def test_detach_keys_are_found_wherever_the_input_is_cut(data, keys):
    detector, passed, detached = DetachKeyDetector(keys), b"", False
    for piece in data:
        through, detached = detector.feed(piece)
        passed += through
        if detached:
            break
    whole = b"".join(data)
    if detached:
        assert keys in whole and passed + keys == whole[: len(passed) + len(keys)]
    else:
        assert keys not in whole and whole.startswith(passed) and len(whole) - len(passed) < len(keys)


@pytest.mark.parametrize(
    ("words", "expected"), [("0", "1970-01-01T00:00:00"), ("2020-01-02T03:04:05+00:00", "2020-01-02T03:04:05")]
)
def test_deadlines_are_times(words, expected):
    assert parse_until(words).startswith(expected)
    assert parse_until("10m") > parse_until("1h30m")
    with pytest.raises(BadRequest):
        parse_until("soon")


def test_wishes_are_kept_under_the_networks_own_names():
    asked = {"n1": EndpointSettings(aliases=["a"]), "abc1": EndpointSettings(mac_address="02:00:00:00:00:01")}
    joined = {
        "n1": EndpointSettings(network_id="fff", ip_address="10.0.0.2", dns_names=["x"]),
        "n2": EndpointSettings(network_id="abc123", ip_address="10.0.0.3"),
    }
    found = networking.resolved_endpoints(asked, joined)
    assert found == {
        "n1": EndpointSettings(aliases=["a"], network_id="fff", dns_names=["x"]),
        "n2": EndpointSettings(mac_address="02:00:00:00:00:01", network_id="abc123"),
    }
    assert networking.endpoint_key(found, "abc") == "n2" and networking.endpoint_key(found, "zzz") is None


CHECK = Healthcheck(test=["CMD-SHELL", "x"], interval=10**9, start_period=5 * 10**9, start_interval=10**8, retries=2)


def results(codes, plan, ages):
    health, seen = health_state.Health(), []
    for code, age in zip(codes, ages, strict=True):
        health = health_state.after_check(health, health_state.Result("", "", code, "o" * 9000), plan, age)
        seen.append((health.status, health.failing_streak))
    return health, seen


def test_health_starts_counts_failures_and_recovers():
    plan = health_state.plan(Config(healthcheck=CHECK, shell=["sh", "-c"]))
    assert plan.argv == ["sh", "-c", "x"] and plan.timeout == 30
    health, seen = results([1, 1, 1, 1, 0, 1, 1], plan, [1, 4, 6, 7, 8, 9, 10])
    assert [word for word, _ in seen] == ["starting"] * 3 + ["unhealthy", "healthy", "healthy", "unhealthy"]
    assert [streak for _, streak in seen] == [0, 0, 1, 2, 0, 1, 2]
    assert len(health.results) == 5 and len(health.results[0].output) == 4096
    assert plan.delay(health_state.Health(), 1) == 0.1 and plan.delay(health_state.Health(), 6) == 1
    assert plan.delay(health_state.Health("healthy"), 1) == 1


def test_no_health_check_is_none():
    for test in (None, [], ["NONE"]):
        assert health_state.plan(Config(healthcheck=Healthcheck(test=test))) is None
    assert health_state.plan(Config()) is None
    assert health_state.plan(Config(healthcheck=Healthcheck(test=["CMD", "a", "b"]))).argv == ["a", "b"]


def test_the_network_drivers_in_info_are_those_of_netd():
    drivers = registry.discover()
    assert all(drivers.has(name) for name in NETWORK_DRIVERS)
