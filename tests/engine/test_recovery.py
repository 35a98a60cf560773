"""``kill -9`` of netd-runtime, netd, or both: containers keep running, exits are detected, records are kept."""

import contextlib
import gzip
import io
import os
import signal
import subprocess
import tarfile

import pytest
from docker.errors import APIError

from tests.installation import IMAGE, Installation, running_installation, wait_until

NONE = {"NetworkMode": "none"}


@pytest.fixture
def installation():
    with running_installation() as installation:
        yield installation


def start(installation, *command, name=None, host=None, **fields):
    body = {"Image": IMAGE, "Cmd": list(command), "HostConfig": {**NONE, **(host or {})}, **fields}
    api = installation.docker.api
    made = api.create_container_from_config(body, name)["Id"]
    api.start(made)
    return made


def state(installation, made):
    return installation.docker.api.inspect_container(made)["State"]


def gone(pid):
    return not subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip(
        "Zs \n"
    )


def test_a_killed_daemon_finds_everything_again(installation):
    api = installation.docker.api
    ticks = start(
        installation, "sh", "-c", "while :; do echo tick; sleep 0.05; done", name="ticks", host={"Binds": ["vol:/v"]}
    )
    brief = start(installation, "sh", "-c", "sleep 0.3; exit 7", name="brief")
    frozen = start(installation, "sleep", "1000", name="frozen")
    api.pause(frozen)
    vanishing = start(installation, "sleep", "0.3", name="vanishing", host={"AutoRemove": True})
    again = start(
        installation,
        "sh",
        "-c",
        "echo run; sleep 0.3",
        name="again",
        host={"RestartPolicy": {"Name": "unless-stopped"}},
    )
    lasting = api.create_container_from_config({"Image": IMAGE, "Cmd": ["true"], "HostConfig": NONE}, "lasting")["Id"]
    before = {container: state(installation, container) for container in (ticks, frozen, lasting)}
    pids = [state(installation, container)["Pid"] for container in (brief, vanishing, again)]
    installation.kill("runtime")
    wait_until(lambda: all(map(gone, pids)))
    installation.start("runtime")
    api = installation.docker.api
    assert {container: state(installation, container) for container in before} == before
    assert (state(installation, brief)["Status"], state(installation, brief)["ExitCode"]) == ("exited", 7)
    assert [container for container in api.containers(all=True) if container["Id"] == vanishing] == []
    wait_until(lambda: api.logs(again).count(b"run") >= 2)
    count = api.logs(ticks).count(b"tick")
    wait_until(lambda: api.logs(ticks).count(b"tick") > count)
    assert api.exec_start(api.exec_create(ticks, ["echo", "alive"])["Id"]) == b"alive\n"
    api.unpause(frozen)
    api.stop(ticks, timeout=0)
    assert state(installation, ticks)["ExitCode"] == 137
    assert api.inspect_volume("vol")["Name"] == "vol" and api.images()[0]["RepoTags"] == [IMAGE]
    with pytest.raises(APIError, match="already in use"):
        start(installation, "true", name="ticks")
    api.start(lasting)
    assert api.wait(lasting)["StatusCode"] == 0


def test_a_polite_end_of_the_daemon_leaves_containers_running_too(installation):
    made = start(installation, "sleep", "1000")
    pid = state(installation, made)["Pid"]
    installation.kill("runtime", signal.SIGTERM)
    assert not gone(pid)
    installation.start("runtime")
    assert state(installation, made)["Pid"] == pid


def test_always_means_also_after_a_stop_when_the_daemon_starts(installation):
    api = installation.docker.api
    always = start(installation, "sleep", "1000", host={"RestartPolicy": {"Name": "always"}})
    unless = start(installation, "sleep", "1000", host={"RestartPolicy": {"Name": "unless-stopped"}})
    api.stop(always, timeout=0)
    api.stop(unless, timeout=0)
    installation.kill("runtime")
    installation.start("runtime")
    wait_until(lambda: state(installation, always)["Running"])
    assert state(installation, unless)["Status"] == "exited"


def test_without_netd_containers_run_on_and_starts_say_what_to_do(installation):
    made = start(installation, "sleep", "1000", name="running")
    api = installation.docker.api
    stopped = api.create_container_from_config({"Image": IMAGE, "Cmd": ["true"]}, "stopped")["Id"]
    installation.kill("netd")
    with pytest.raises(APIError) as error:
        api.start(stopped)
    assert error.value.response.status_code == 503 and f"{installation.run}/netd.sock" in error.value.explanation
    assert state(installation, stopped)["Status"] == "created" and state(installation, made)["Running"]
    with pytest.raises(APIError) as error:
        api.networks()
    assert error.value.response.status_code == 503
    api.remove_container(made, force=True)
    installation.start("netd")
    api.start(stopped)
    assert api.wait(stopped)["StatusCode"] == 0


def test_what_a_crash_left_half_done_is_swept_away(installation):
    installation.kill("runtime")
    for path in ("layers/" + "0" * 64, "containers/" + "1" * 64, "tmp/layer-x"):
        (installation.state / path).mkdir(parents=True)
    installation.start("runtime")
    wait_until(lambda: not any((installation.state / "tmp").iterdir()))
    assert len(list((installation.state / "layers").iterdir())) == 1 and not any(
        (installation.state / "containers").iterdir()
    )
    start(installation, "true")


@pytest.fixture
def small_installation():
    """An installation with its state on a disk of 12 MiB."""
    installation = Installation()
    installation.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", installation.state], check=True)
    try:
        installation.start()
        installation.load_busybox()
        yield installation
    finally:
        installation.destroy()


def test_a_full_disk_raises_no_space_and_changes_nothing(small_installation):
    api = small_installation.docker.api
    made = start(small_installation, "sleep", "1000", name="running")
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
    wait_until(lambda: not any((small_installation.state / "tmp").iterdir()))
    with contextlib.suppress(OSError), (small_installation.state / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    with pytest.raises(APIError) as error:
        start(small_installation, "true", name="more")
    assert error.value.response.status_code in (500, 507)
    assert [c["Names"] for c in api.containers(all=True)] == [["/running"]]
    api.stop(made, timeout=0)
    assert state(small_installation, made)["ExitCode"] == 137
    api.remove_container(made)
    (small_installation.state / "ballast").unlink()
    start(small_installation, "true", name="more")
