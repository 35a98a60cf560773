"""Containers that exit at once and are restarted repeatedly: every verb ends the loop or returns the reason."""

import pytest
from docker.errors import APIError

from tests.installation import wait_until


@pytest.fixture
def looping(api, run):
    """A container in the state ``restarting``, long enough for requests."""
    made = run("false", host={"RestartPolicy": {"Name": "always"}})

    def waits():
        shown = api.inspect_container(made)
        return shown["State"]["Status"] == "restarting" and shown["RestartCount"] >= 4

    wait_until(waits)
    return made


def status(api, container):
    return api.inspect_container(container)["State"]["Status"]


def restarts(api, container):
    return api.inspect_container(container)["RestartCount"]


@pytest.mark.parametrize("signal", ["KILL", "TERM", "HUP"])
def test_a_kill_ends_the_loop(api, looping, signal):
    api.kill(looping, signal)
    assert status(api, looping) == "exited"
    before = restarts(api, looping)
    with pytest.raises(APIError, match="is not running"):
        api.kill(looping, signal)
    assert (status(api, looping), restarts(api, looping)) == ("exited", before)
    api.start(looping)


def test_a_stop_ends_the_loop(api, looping):
    api.stop(looping)
    assert status(api, looping) == "exited"


def test_a_kill_wakes_who_waits_for_the_end(api, raw, looping):
    raw.request("POST", f"/containers/{looping}/wait")
    response = raw.getresponse()
    api.kill(looping)
    assert response.read() == b'{"StatusCode":1}\n'


def test_removal_needs_force(api, looping):
    with pytest.raises(APIError, match="container is restarting: stop the container"):
        api.remove_container(looping)
    api.remove_container(looping, force=True)
    assert not api.containers(all=True)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "pause", None),
        ("POST", "exec", {"Cmd": ["true"]}),
        ("POST", "attach?stream=1&stdout=1", None),
        ("GET", "top", None),
    ],
)
def test_what_needs_a_process_is_refused_in_dockers_words(raw, looping, method, path, body):
    status, _, said = raw.ask(method, f"/containers/{looping}/{path}", body)
    assert (status, said["message"]) == (
        409,
        f"Container {looping} is restarting, wait until the container is running",
    )


def test_a_start_finds_it_running_and_a_restart_begins_anew(api, raw, looping):
    assert raw.ask("POST", f"/containers/{looping}/start")[0] == 304
    assert raw.ask("POST", f"/containers/{looping}/restart")[0] == 204
    assert restarts(api, looping) <= 1
