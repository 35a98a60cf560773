"""``kill -9`` of the daemon, of netd, of both: what runs goes on, what ended is found, nothing is forgotten."""

import contextlib
import gzip
import io
import os
import signal
import subprocess
import tarfile

import pytest
from docker.errors import APIError

from tests.installation import IMAGE, Installation, wait_until

NONE = {"NetworkMode": "none"}


@pytest.fixture
def house():
    installation = Installation()
    try:
        installation.start()
        installation.load_busybox()
        yield installation
    finally:
        installation.destroy()


def start(house, *command, name=None, host=None, **fields):
    body = {"Image": IMAGE, "Cmd": list(command), "HostConfig": {**NONE, **(host or {})}, **fields}
    api = house.docker.api
    made = api.create_container_from_config(body, name)["Id"]
    api.start(made)
    return made


def state(house, made):
    return house.docker.api.inspect_container(made)["State"]


def gone(pid):
    return not subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip(
        "Zs \n"
    )


def test_a_killed_daemon_finds_everything_again(house):
    api = house.docker.api
    ticks = start(
        house, "sh", "-c", "while :; do echo tick; sleep 0.05; done", name="ticks", host={"Binds": ["vol:/v"]}
    )
    brief = start(house, "sh", "-c", "sleep 0.3; exit 7", name="brief")
    frozen = start(house, "sleep", "1000", name="frozen")
    api.pause(frozen)
    vanishing = start(house, "sleep", "0.3", name="vanishing", host={"AutoRemove": True})
    again = start(
        house, "sh", "-c", "echo run; sleep 0.3", name="again", host={"RestartPolicy": {"Name": "unless-stopped"}}
    )
    lasting = api.create_container_from_config({"Image": IMAGE, "Cmd": ["true"], "HostConfig": NONE}, "lasting")["Id"]
    before = {container: state(house, container) for container in (ticks, frozen, lasting)}
    pids = [state(house, container)["Pid"] for container in (brief, vanishing, again)]
    house.kill("runtime")
    wait_until(lambda: all(map(gone, pids)))
    house.start("runtime")
    api = house.docker.api
    assert {container: state(house, container) for container in before} == before
    assert (state(house, brief)["Status"], state(house, brief)["ExitCode"]) == ("exited", 7)
    assert [container for container in api.containers(all=True) if container["Id"] == vanishing] == []
    wait_until(lambda: api.logs(again).count(b"run") >= 2)
    count = api.logs(ticks).count(b"tick")
    wait_until(lambda: api.logs(ticks).count(b"tick") > count)
    assert api.exec_start(api.exec_create(ticks, ["echo", "alive"])["Id"]) == b"alive\n"
    api.unpause(frozen)
    api.stop(ticks, timeout=0)
    assert state(house, ticks)["ExitCode"] == 137
    assert api.inspect_volume("vol")["Name"] == "vol" and api.images()[0]["RepoTags"] == [IMAGE]
    with pytest.raises(APIError, match="already in use"):
        start(house, "true", name="ticks")
    api.start(lasting)
    assert api.wait(lasting)["StatusCode"] == 0


def test_a_polite_end_of_the_daemon_leaves_containers_running_too(house):
    made = start(house, "sleep", "1000")
    pid = state(house, made)["Pid"]
    house.kill("runtime", signal.SIGTERM)
    assert not gone(pid)
    house.start("runtime")
    assert state(house, made)["Pid"] == pid


def test_always_means_also_after_a_stop_when_the_daemon_starts(house):
    api = house.docker.api
    always = start(house, "sleep", "1000", host={"RestartPolicy": {"Name": "always"}})
    unless = start(house, "sleep", "1000", host={"RestartPolicy": {"Name": "unless-stopped"}})
    api.stop(always, timeout=0)
    api.stop(unless, timeout=0)
    house.kill("runtime")
    house.start("runtime")
    wait_until(lambda: state(house, always)["Running"])
    assert state(house, unless)["Status"] == "exited"


def test_without_netd_containers_run_on_and_starts_say_what_to_do(house):
    made = start(house, "sleep", "1000", name="running")
    api = house.docker.api
    stopped = api.create_container_from_config({"Image": IMAGE, "Cmd": ["true"], "HostConfig": NONE}, "stopped")["Id"]
    house.kill("netd")
    with pytest.raises(APIError) as error:
        api.start(stopped)
    assert error.value.response.status_code == 503 and f"{house.run}/netd.sock" in error.value.explanation
    assert state(house, stopped)["Status"] == "created" and state(house, made)["Running"]
    with pytest.raises(APIError) as error:
        api.networks()
    assert error.value.response.status_code == 503
    api.remove_container(made, force=True)
    house.start("netd")
    api.start(stopped)
    assert api.wait(stopped)["StatusCode"] == 0


def test_what_a_crash_left_half_done_is_swept_away(house):
    house.kill("runtime")
    for path in ("layers/" + "0" * 64, "containers/" + "1" * 64, "tmp/layer-x"):
        (house.state / path).mkdir(parents=True)
    house.start("runtime")
    wait_until(lambda: not any((house.state / "tmp").iterdir()))
    assert len(list((house.state / "layers").iterdir())) == 1 and not any((house.state / "containers").iterdir())
    start(house, "true")


@pytest.fixture
def small_house():
    """An installation whose state is on a disk of 12 MiB."""
    installation = Installation()
    installation.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", installation.state], check=True)
    try:
        installation.start()
        installation.load_busybox()
        yield installation
    finally:
        installation.destroy()


def test_a_full_disk_is_told_and_changes_nothing(small_house):
    api = small_house.docker.api
    made = start(small_house, "sleep", "1000", name="running")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("big")
        info.size = 20 << 20
        tar.addfile(info, io.BytesIO(os.urandom(1 << 20) * 20))
    images = api.images()
    for data in (out.getvalue(), gzip.decompress(out.getvalue())):
        with pytest.raises(APIError) as error:
            api.import_image_from_data(data, repository="big", tag="1")
        assert error.value.response.status_code == 507 and "is full: free some space" in error.value.explanation
    assert api.images() == images
    wait_until(lambda: not any((small_house.state / "tmp").iterdir()))
    with contextlib.suppress(OSError), (small_house.state / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    with pytest.raises(APIError) as error:
        start(small_house, "true", name="more")
    assert error.value.response.status_code in (500, 507)
    assert [c["Names"] for c in api.containers(all=True)] == [["/running"]]
    api.stop(made, timeout=0)
    assert state(small_house, made)["ExitCode"] == 137
    api.remove_container(made)
    (small_house.state / "ballast").unlink()
    start(small_house, "true", name="more")
