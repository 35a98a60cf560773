"""Containers from creation to removal, through Docker's API."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from docker.errors import APIError, NotFound

from tests.installation import IMAGE, wait_until
from tests.raw_client import RawClient


def refused(call, *args, **kwargs):
    with pytest.raises(APIError) as error:
        call(*args, **kwargs)
    return error.value.response.status_code, error.value.explanation


def status(api, made):
    return api.inspect_container(made)["State"]


@pytest.mark.parametrize(
    ("command", "code"), [(["true"], 0), (["sh", "-c", "exit 3"], 3), (["sh", "-c", "kill -9 $$"], 137)]
)
def test_exit_codes(output, command, code):
    assert output(*command, host={"Init": True})[0] == code


@pytest.mark.parametrize(("command", "code"), [(["nosuch"], 127), (["/etc"], 126), (["/etc/passwd"], 126)])
def test_programs_that_cannot_be_run(api, make, command, code):
    made = make(*command)
    state, words = refused(api.start, made)
    assert state == 400 and command[0] in words
    shown = status(api, made)
    assert (shown["Status"], shown["ExitCode"]) == ("created", code) and command[0] in shown["Error"]
    assert api.wait(made)["StatusCode"] == code


def test_the_states_of_a_life(api, make):
    made = make("sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done", name="life")
    assert status(api, made)["Status"] == "created" and status(api, made)["Pid"] == 0
    api.start(made)
    shown = status(api, made)
    assert shown["Running"] and shown["Pid"] > 1 and shown["StartedAt"] > "2020"
    assert api.containers()[0]["State"] == "running" and api.containers()[0]["Status"].startswith("Up ")
    wait_until(lambda: api.logs(made) == b"up\n")
    api.stop(made, timeout=10)
    shown = status(api, made)
    assert (shown["Status"], shown["ExitCode"], shown["Pid"]) == ("exited", 5, 0)
    assert shown["FinishedAt"] > shown["StartedAt"]
    assert api.containers() == [] and api.containers(all=True)[0]["Status"].startswith("Exited (5) ")
    api.start(made)
    assert status(api, made)["Running"]
    api.remove_container(made, force=True)
    with pytest.raises(NotFound):
        api.inspect_container(made)


def test_starting_twice_and_stopping_twice_are_no_errors(raw, run):
    made = run()
    assert raw.ask("POST", f"/containers/{made}/start")[0] == 304
    assert raw.ask("POST", f"/containers/{made}/stop?t=0")[0] == 204
    assert raw.ask("POST", f"/containers/{made}/stop")[0] == 304


def test_stop_kills_a_program_that_ignores_the_signal(api, run):
    made = run("sleep", "1000")
    begin = time.monotonic()
    api.stop(made, timeout=1)
    assert status(api, made)["ExitCode"] == 137 and 0.9 < time.monotonic() - begin < 60


def test_stop_uses_the_containers_own_signal_and_patience(api, run):
    made = run("sh", "-c", "trap 'exit 7' USR1; while :; do sleep 0.05; done", StopSignal="SIGUSR1", StopTimeout=20)
    wait_until(lambda: "USR1" in str(api.inspect_container(made)["Config"]["StopSignal"]))
    api.exec_start(api.exec_create(made, ["true"])["Id"])
    api.stop(made)
    assert status(api, made)["ExitCode"] == 7


def test_signals_reach_the_program(api, run):
    made = run("sh", "-c", "trap 'echo got' HUP; echo up; while :; do sleep 0.05; done")
    wait_until(lambda: b"up" in api.logs(made))
    api.kill(made, "HUP")
    wait_until(lambda: b"got" in api.logs(made))
    api.kill(made)
    assert status(api, made)["ExitCode"] == 137


def test_pause_freezes_and_stop_ends_even_the_frozen(api, run):
    made = run("sh", "-c", "while :; do date +%s%N; sleep 0.05; done")
    wait_until(lambda: api.logs(made))
    api.pause(made)
    assert status(api, made)["Paused"] and "(Paused)" in api.containers()[0]["Status"]
    assert refused(api.pause, made)[0] == 409 and refused(api.start, made)[0] == 409
    assert refused(api.exec_create, made, ["true"])[0] == 409
    before = api.logs(made)
    time.sleep(0.3)
    assert api.logs(made) == before
    api.unpause(made)
    wait_until(lambda: len(api.logs(made)) > len(before))
    assert refused(api.unpause, made)[0] == 500
    api.pause(made)
    api.stop(made, timeout=0)
    assert status(api, made)["ExitCode"] == 137


def test_names(api, make):
    made = make(name="web")
    code, words = refused(make, name="web")
    assert code == 409 and '"/web" is already in use by container' in words and made in words
    assert api.inspect_container("web")["Id"] == api.inspect_container("/web")["Id"] == made
    assert api.inspect_container(made[:12])["Name"] == "/web"
    api.rename(made, "shop")
    assert api.inspect_container("shop")["Id"] == made and make(name="web") != made
    assert refused(api.rename, made, "web")[0] == 409
    assert refused(api.rename, made, "shop")[0] == 400
    assert refused(api.rename, made, "a b")[0] == 400
    assert len({api.inspect_container(make())["Name"] for _ in range(5)}) == 5


def test_wait_conditions(api, raw, make):
    made = make("sh", "-c", "exit 4", host={"AutoRemove": True})
    assert api.wait(made)["StatusCode"] == 0
    raw.request("POST", f"/containers/{made}/wait?condition=removed")
    response = raw.getresponse()
    assert response.status == 200
    api.start(made)
    assert response.read().strip() == b'{"StatusCode":4}'
    with pytest.raises(NotFound):
        api.inspect_container(made)
    assert raw.ask("POST", f"/containers/{make()}/wait?condition=z")[0] == 400


def test_restart_policies(api, run):
    made = run("sh", "-c", "echo run; exit 1", host={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}})
    wait_until(lambda: status(api, made)["Status"] == "exited")
    assert api.logs(made) == b"run\n" * 3 and api.inspect_container(made)["RestartCount"] == 2
    made = run("sh", "-c", "echo run; sleep 0.05", host={"RestartPolicy": {"Name": "always"}})
    wait_until(lambda: api.logs(made).count(b"run") >= 3)
    api.stop(made, timeout=0)
    assert status(api, made)["Status"] == "exited"
    count = api.logs(made).count(b"run")
    time.sleep(0.5)
    assert api.logs(made).count(b"run") == count


def test_restart(api, run):
    made = run("sh", "-c", "echo up; sleep 1000", host={"AutoRemove": True})
    wait_until(lambda: api.logs(made) == b"up\n")
    first = status(api, made)["Pid"]
    api.restart(made, timeout=0)
    assert status(api, made)["Running"] and status(api, made)["Pid"] != first
    wait_until(lambda: api.logs(made) == b"up\nup\n")


@pytest.mark.parametrize("host", [{"AutoRemove": True}, {"RestartPolicy": {"Name": "always"}}, {}])
@pytest.mark.parametrize("verb", ["stop?t=0", "kill", "kill?signal=TERM"])
def test_a_stop_during_a_restart_cancels_the_restart(place, api, run, verb, host):
    script = "trap 'test -e /told && exit 7; touch /told; echo told' TERM; echo up; while :; do sleep 0.05; done"
    made, client = run("sh", "-c", script, host=host), RawClient(place.run / "docker.sock")
    wait_until(lambda: api.logs(made) == b"up\n")
    with ThreadPoolExecutor(1) as pool:
        restart = pool.submit(client.call, "POST", f"/containers/{made}/restart?t=600")
        wait_until(lambda: b"told" in api.logs(made))
        assert client.call("POST", f"/containers/{made}/{verb}") == (204, None)
        code, body = restart.result()
    assert code == 409 and "was stopped during its restart" in body["message"]
    if "AutoRemove" in host:
        wait_until(lambda: not api.containers(all=True))
    else:
        assert status(api, made)["Status"] == "exited"


def test_remove_refuses_the_running(api, run):
    made = run(name="busy")
    code, words = refused(api.remove_container, made)
    assert code == 409 and 'cannot remove container "busy": container is running' in words
    api.remove_container(made, force=True)


def test_lists_are_filtered(api, make, run):
    first = make(name="one", Labels={"app": "shop", "tier": "web"})
    two = run(name="two", Labels={"app": "shop"})

    def names(**filters):
        return sorted(c["Names"][0] for c in api.containers(all=True, filters=filters))

    assert names() == ["/one", "/two"] and [c["Id"] for c in api.containers()] == [two]
    assert names(label=["app=shop", "tier=web"]) == ["/one"] and names(label="tier") == ["/one"]
    assert names(status="running") == ["/two"] and names(status=["created", "running"]) == ["/one", "/two"]
    assert names(name="^/tw") == ["/two"] and names(id=first[:8]) == ["/one"]
    assert names(ancestor=IMAGE) == ["/one", "/two"] and names(ancestor="absent") == []
    assert names(network="none") == ["/one", "/two"] and names(network="bridge") == []
    assert names(before="two") == ["/one"] and names(since="one") == ["/two"]
    assert [c["Id"] for c in api.containers(limit=1)] == [two]
    assert refused(api.containers, filters={"nosuch": "x"}) == (400, "invalid filter 'nosuch'")
    assert refused(api.containers, filters={"status": "nosuch"})[0] == 400


def test_prune_takes_only_what_does_not_run(api, make, run):
    gone, stays, labelled = make(), run(), make(Labels={"keep": "1"})
    assert api.prune_containers({"label!": ["keep"]})["ContainersDeleted"] == [gone]
    assert {c["Id"] for c in api.containers(all=True)} == {stays, labelled}


def test_top_shows_the_processes(api, run):
    made = run("sleep", "1234")
    shown = api.top(made)
    assert shown["Titles"][1] == "PID" and "sleep 1234" in shown["Processes"][0][-1]
    assert int(shown["Processes"][0][1]) == status(api, made)["Pid"]
    assert api.top(made, "aux")["Titles"][-1] == "COMMAND"
    assert refused(api.top, made, "--nosuch")[0] == 400


def test_out_of_memory_is_told(api, run):
    made = run("sh", "-c", "tail /dev/zero", host={"Memory": 8 << 20})
    assert api.wait(made)["StatusCode"] == 137 and status(api, made)["OOMKilled"]


def test_events_tell_a_life_in_order(api, raw, run):
    raw.request("GET", "/v1.47/events?filters=" + '{"type":["container"]}')
    stream = raw.getresponse()
    made = run("sh", "-c", "exit 2", name="told", Labels={"a": "b"}, host={"AutoRemove": True})

    seen = []
    while "destroy" not in seen:
        event = json.loads(read_line(stream))
        seen.append(event["Action"])
        attributes = event["Actor"]["Attributes"]
        assert event["Actor"]["ID"] == made == event["id"] and event["status"] == event["Action"]
        assert (attributes["name"], attributes["image"], attributes["a"]) == ("told", IMAGE, "b")
        if event["Action"] == "die":
            assert attributes["exitCode"] == "2"
    assert seen == ["create", "start", "die", "destroy"]


def read_line(stream):
    line = b""
    while not line.endswith(b"\n"):
        line += stream.read(1)
    return line


def test_stats_tell_what_a_container_uses(api, raw, run, make):
    made = run("sh", "-c", "while :; do :; done", host={"Memory": 64 << 20, "NetworkMode": "bridge"})
    wait_until(lambda: one_shot(raw, made)["cpu_stats"]["cpu_usage"]["total_usage"] > 100_000_000)
    shown = one_shot(raw, made)
    assert shown["memory_stats"]["limit"] == 64 << 20 and 0 < shown["memory_stats"]["usage"] < 64 << 20
    assert shown["pids_stats"]["current"] == 1 and "rx_bytes" in shown["networks"]["eth0"]
    assert shown["precpu_stats"]["cpu_usage"]["total_usage"] == 0 and shown["cpu_stats"]["system_cpu_usage"] > 0
    second = api.stats(made, stream=False)
    spent = second["cpu_stats"]["cpu_usage"]["total_usage"] - second["precpu_stats"]["cpu_usage"]["total_usage"]
    assert spent > 100_000_000 and second["read"] > second["preread"] > "2020"
    assert one_shot(raw, make())["memory_stats"] == {}


def one_shot(raw, made):
    return raw.ask("GET", f"/containers/{made}/stats?stream=0&one-shot=1")[2]


def test_health_is_checked_and_told(api, run):
    check = {
        "Test": ["CMD-SHELL", "echo looked; test -e /well"],
        "Interval": 50_000_000,
        "Retries": 2,
        "Timeout": 10**10,
    }
    made = run(Healthcheck=check)
    assert status(api, made)["Health"]["Status"] == "starting" and "(health: starting)" in api.containers()[0]["Status"]
    wait_until(lambda: status(api, made)["Health"]["Status"] == "unhealthy")
    health = status(api, made)["Health"]
    assert (
        health["FailingStreak"] >= 2 and health["Log"][0]["ExitCode"] == 1 and health["Log"][0]["Output"] == "looked\n"
    )
    api.exec_start(api.exec_create(made, ["touch", "/well"])["Id"])
    wait_until(lambda: status(api, made)["Health"]["Status"] == "healthy")
    assert len(status(api, made)["Health"]["Log"]) <= 5
    assert [c["Id"] for c in api.containers(filters={"health": "healthy"})] == [made]
    assert "(healthy)" in api.containers()[0]["Status"] and api.containers(filters={"health": "none"}) == []


def test_a_health_check_that_hangs_is_ended(api, run):
    made = run(
        Healthcheck={"Test": ["CMD", "sleep", "77"], "Interval": 10_000_000, "Timeout": 100_000_000, "Retries": 1}
    )
    wait_until(lambda: status(api, made)["Health"]["Status"] == "unhealthy")
    assert "exceeded timeout" in status(api, made)["Health"]["Log"][0]["Output"]
    api.stop(made, timeout=0)
    assert status(api, made)["ExitCode"] == 137
