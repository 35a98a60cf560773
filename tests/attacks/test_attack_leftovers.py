"""Files in RUN that are cut, overwritten or not of ours: both daemons start, and containers go on."""

import os

import pytest

from tests.installation import Installation, wait_until

JUNK = bytes(range(255, 0, -1))
HEAD = b"\xfb\xda\x00nothing"


@pytest.fixture
def house():
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


def pid(house):
    return house.inspect("web")["State"]["Pid"]


@pytest.mark.parametrize("content", [b"", JUNK, HEAD], ids=("empty", "junk", "other value"))
def test_files_of_run_that_cannot_be_read_keep_no_daemon_from_starting(house, content):
    before, brief = pid(house), house.inspect("done")["State"]["Pid"]
    for name in ("runtime", "netd"):
        house.kill(name)
    os.kill(brief, 9)
    wait_until(lambda: list(house.run.glob("shims/*/exit")))
    damaged = [
        *house.run.glob("sandboxes/*"),
        *house.run.glob("ports/*"),
        *house.run.glob("forwarding*"),
        *house.run.glob("shims/*/exit"),
    ]
    assert len(damaged) >= 3
    for path in damaged:
        path.write_bytes(content)
    house.start()
    assert pid(house) == before and house.inspect("done")["State"]["Status"] == "exited"
    assert house.netctl("exec", "web", "nslookup", "web").returncode == 0
    house.netctl("rm", "-f", "web", "done")


def test_the_state_of_a_living_shim_is_not_needed(house):
    before = pid(house)
    house.kill("runtime")
    for path in house.run.glob("shims/*/state"):
        path.write_bytes(JUNK)
    house.start("runtime")
    assert pid(house) == before
    house.netctl("rm", "-f", "web")
    wait_until(lambda: not os.path.exists(f"/proc/{before}"))


def test_strangers_in_the_folders_are_left_alone(house):
    before = pid(house)
    for name in ("runtime", "netd"):
        house.kill(name)
    for folder in ("shims", "netns", "sandboxes", "ports"):
        (house.run / folder).mkdir(exist_ok=True)
        (house.run / folder / "folder" / "inner").mkdir(parents=True)
        (house.run / folder / "file").write_bytes(JUNK)
        (house.run / folder / "link").symlink_to("/nowhere")
    for folder in ("containers", "layers", "volumes", "tmp"):
        (house.state / folder / "file").write_bytes(JUNK)
        (house.state / folder / "link").symlink_to("/nowhere")
    house.start()
    assert pid(house) == before
    house.netctl("run", "--rm", "busybox", "true")
