"""Filters, events and settings."""

import asyncio

import pytest

from netd.common.errors import BadRequest
from netd.common.events import Bus, Lagging, event, matches
from netd.common.filters import Filters, parse
from netd.settings.command_line import load

ALLOWED = frozenset({"label", "name", "dangling"})


@pytest.mark.parametrize("text", ['{"label":["a=b"]}', '{"label":{"a=b":true}}'])
def test_both_forms_of_filters_are_read(text):
    assert parse(text, ALLOWED).labels({"a": "b"}) and not parse(text, ALLOWED).labels({"a": "c"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "invalid filter"),
        ("[]", "invalid filter"),
        ('{"x":["1"]}', "invalid filter 'x'"),
        ('{"name":[1]}', "invalid filter"),
    ],
)
def test_bad_filters_are_refused(text, words):
    with pytest.raises(BadRequest, match=words):
        parse(text, ALLOWED)


def test_names_match_as_regular_expressions_and_bad_ones_match_nothing():
    assert parse('{"name":["^h1_a"]}', ALLOWED).matches("name", "h1_abc")
    assert not parse('{"name":["^h1_a"]}', ALLOWED).matches("name", "xh1_abc")
    assert not parse('{"name":["("]}', ALLOWED).matches("name", "h1")


def test_flags_take_one_boolean():
    assert parse('{"dangling":["1"]}', ALLOWED).flag("dangling") is True
    for bad in ('["zork"]', '["true","false"]'):
        with pytest.raises(BadRequest):
            parse(f'{{"dangling":{bad}}}', ALLOWED).flag("dangling")


def test_events_reach_listeners_in_order_and_are_remembered():
    async def main():
        bus = Bus()
        with bus.listen() as events:
            for n in range(3):
                bus.publish(event("network", f"a{n}", "id", {"name": "n"}))
            return [(await anext(events)).action for _ in range(3)], [e.action for e in bus.past(0, 2e9)]

    assert asyncio.run(main()) == (["a0", "a1", "a2"], ["a0", "a1", "a2"])


def test_a_listener_that_lags_is_notified():
    async def main():
        bus = Bus()
        with bus.listen() as events:
            for _ in range(5000):
                bus.publish(event("network", "create", "id", {}))
            with pytest.raises(Lagging):
                async for _ in events:
                    pass

    asyncio.run(main())


def test_event_filters_find_an_event_by_its_own_object():
    joined = event("network", "connect", "n1", {"container": "c1", "name": "net"})
    assert matches(joined, Filters({"network": ("net",)}))
    assert matches(joined, Filters({"type": ("network",), "event": ("connect",)}))
    assert not matches(joined, Filters({"container": ("c1",)}))
    assert not matches(joined, Filters({"type": ("container",)}))


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = tmp_path / "netd.toml"
    file.write_text('state_dir = "/a"\nrun_dir = "/b"\ndns = ["192.0.2.1"]\n')
    found = load("netd", "", ["--config", str(file), "--run-dir", "/c"]).settings
    assert (str(found.state_dir), str(found.run_dir), found.dns) == ("/a", "/c", ("192.0.2.1",))


def test_no_connection_budget_is_not_the_default(tmp_path):
    file = tmp_path / "netd.toml"
    for text, budget in (("", None), ("connection_budget = 0", 0), ("connection_budget = 20000", 20000)):
        file.write_text(text)
        assert load("netd", "", ["--config", str(file)]).settings.connection_budget == budget


def test_domains_have_their_own_name_servers(tmp_path):
    file = tmp_path / "netd.toml"
    file.write_text('[dns_domains]\n"corp.example" = ["192.0.2.1", "fd00::1"]\n"10.in-addr.arpa." = ["192.0.2.2"]\n')
    found = load("netd", "", ["--config", str(file)]).settings
    assert found.dns_domains == {"corp.example": ("192.0.2.1", "fd00::1"), "10.in-addr.arpa.": ("192.0.2.2",)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("state_dri = 'x'", "did you mean state_dir"),
        ("run_dir = 5", "must be a string"),
        ("=", "cannot be read"),
        ("log_level = 'loud'", "one of"),
        ("dns = ['foo']", "dns: 'foo' is not an IP address"),
        ("plugin_timeout = 0", "must be a whole number of 1 or more"),
        ("connection_budget = -1", "must be a whole number of 0 or more"),
        ("connection_budget = true", "must be a whole number of 0 or more"),
        ("dns_domains = 5", "must be a table, as dns_domains = "),
        ("[dns_domains]\ncorp = '192.0.2.1'", "corp must have a list of name servers"),
        ("[dns_domains]\ncorp = []", "corp must have a list of name servers"),
        ("[dns_domains]\ncorp = ['ns.corp']", "corp must have a list of name servers"),
        ("[dns_domains]\n'a..b' = ['192.0.2.1']", "'a..b' is no domain"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, text, words):
    file = tmp_path / "netd.toml"
    file.write_text(text)
    with pytest.raises(BadRequest, match=words):
        load("netd", "", ["--config", str(file)])
