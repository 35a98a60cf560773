"""Files in RUN that are truncated, overwritten or foreign: both daemons start, and containers keep running."""

import os

import pytest

from tests.installation import Installation, wait_until

JUNK = bytes(range(255, 0, -1))
HEAD = b"\xfb\xda\x00nothing"


@pytest.fixture
def installation():
    place = Installation()
    try:
        place.start()
        place.load_busybox()
        own = ("-p", "8080:80", "--sysctl", "net.core.somaxconn=99")
        place.netctl("run", "-d", "--name", "web", *own, "busybox", "sleep", "1000")
        place.netctl("run", "-d", "--name", "done", "busybox", "sleep", "1000")
        yield place
    finally:
        place.destroy()


def pid(installation):
    return installation.inspect("web")["State"]["Pid"]


@pytest.mark.parametrize("content", [b"", JUNK, HEAD], ids=("empty", "junk", "other value"))
def test_files_of_run_that_cannot_be_read_keep_no_daemon_from_starting(installation, content):
    before, brief = pid(installation), installation.inspect("done")["State"]["Pid"]
    for name in ("runtime", "netd"):
        installation.kill(name)
    os.kill(brief, 9)
    wait_until(lambda: list(installation.run.glob("shims/*/exit")))
    damaged = [
        *installation.run.glob("sandboxes/*"),
        *installation.run.glob("ports/*"),
        *installation.run.glob("forwarding*"),
        *installation.run.glob("shims/*/exit"),
    ]
    assert len(damaged) >= 3
    for path in damaged:
        path.write_bytes(content)
    installation.start()
    assert pid(installation) == before and installation.inspect("done")["State"]["Status"] == "exited"
    assert installation.netctl("exec", "web", "nslookup", "web").returncode == 0
    installation.netctl("rm", "-f", "web", "done")


def test_the_state_of_a_living_shim_is_not_needed(installation):
    before = pid(installation)
    installation.kill("runtime")
    for path in installation.run.glob("shims/*/state"):
        path.write_bytes(JUNK)
    installation.start("runtime")
    assert pid(installation) == before
    installation.netctl("rm", "-f", "web")
    wait_until(lambda: not os.path.exists(f"/proc/{before}"))


def test_strangers_in_the_folders_are_left_alone(installation):
    before = pid(installation)
    for name in ("runtime", "netd"):
        installation.kill(name)
    for folder in ("shims", "netns", "sandboxes", "ports"):
        (installation.run / folder).mkdir(exist_ok=True)
        (installation.run / folder / "folder" / "inner").mkdir(parents=True)
        (installation.run / folder / "file").write_bytes(JUNK)
        (installation.run / folder / "link").symlink_to("/nowhere")
    for folder in ("containers", "layers", "volumes", "tmp"):
        (installation.state / folder / "file").write_bytes(JUNK)
        (installation.state / folder / "link").symlink_to("/nowhere")
    installation.start()
    assert pid(installation) == before
    installation.netctl("run", "--rm", "busybox", "true")
