"""Containers where only version 2 control groups are mounted.

The machine of the test may have all controllers bound to version 1: then limits cannot be set, but all that needs no
controller can be seen: spawning into a group, freezing, killing, the device filter, the namespace.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from low_box import Box, collect, needs_host_root, read_until

from runtime.kernel import cgroups, linux
from runtime.spec import ExitStatus, Limits, StartError


def unified() -> str:
    """Return where a version 2 tree is mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split(" - ")[1].startswith("cgroup2 "):
            return line.split()[4]
    pytest.skip("no version 2 control groups are mounted on this machine")


@pytest.fixture
def box2(tmp_path: Path, image: Path, netns: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """A launcher whose processes are in a mount namespace with only version 2 on /sys/fs/cgroup."""
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    tree = linux.open_tree(linux.AT_FDCWD, unified())
    linux.unshare(linux.CLONE_NEWNS)
    linux.umount("/sys/fs/cgroup", linux.MNT_DETACH)
    linux.move_mount(tree, linux.AT_FDCWD, "/sys/fs/cgroup")
    made = Box(tmp_path, image, netns)
    yield made
    made.close()
    go_home(home)
    os.close(home)
    os.close(tree)


def go_home(namespace: int) -> None:
    """Return to the mount namespace; the kernel refuses while a thread that was joined is still on its way out."""
    for _ in range(500):
        try:
            linux.setns(namespace, linux.CLONE_NEWNS)
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError("a thread keeps the process from leaving its mount namespace")


def test_only_version_2_is_found(box2: Box) -> None:
    (only,) = cgroups.find()
    assert (only.version, only.path) == (2, "/sys/fs/cgroup")


def test_a_container_is_born_in_its_group_and_is_number_one(box2: Box) -> None:
    script = "echo $$; grep ^0: /proc/self/cgroup; cd /sys/fs/cgroup; cat cgroup.procs; mkdir x"
    spec = box2.spec("sh", "-c", script)
    code, out, err = box2.complete(spec)
    assert out.split()[:3] == ["1", "0::/", "1"]
    assert code != 0
    assert "Read-only" in err
    assert not Path(f"/sys/fs/cgroup/netd/{spec.id}").exists()


def test_a_network_that_is_known_later_is_joined(box2: Box) -> None:
    spec = box2.spec("readlink", "/proc/self/ns/net", netns=None, network_later=True)

    async def scenario() -> bytes:
        network: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        preparing = asyncio.ensure_future(box2.launcher.prepare(spec, network))
        await asyncio.sleep(0)
        network.set_result(box2.netns)
        running = await preparing
        taking = asyncio.ensure_future(collect(running))
        await asyncio.sleep(0)
        await box2.launcher.release(running)
        out, _ = await taking
        await running.wait()
        return out

    assert box2.run(scenario()).decode().strip() == f"net:[{os.stat(box2.netns).st_ino}]"


def test_the_exit_code_and_execs_work(box2: Box) -> None:
    spec = box2.spec("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done")

    async def scenario() -> ExitStatus:
        running = await box2.launcher.prepare(spec)
        attachment = await running.attach(stdin=False)
        await box2.launcher.release(running)
        await read_until(attachment, b"up\n")
        made = await box2.launcher.exec(spec.id, running.pid, box2.process("true"), "e" * 64)
        await box2.launcher.release(made)
        assert (await made.wait()).code == 0
        assert running.pid in box2.launcher.pids(spec.id)
        await running.signal(signal.SIGTERM)
        return await running.wait()

    assert box2.run(scenario()).code == 3


def test_freezing_and_killing(box2: Box) -> None:
    spec = box2.spec("sh", "-c", "while :; do sleep 0.1 & sleep 0.02; done")
    running = box2.start(spec)

    async def scenario() -> ExitStatus:
        await box2.launcher.pause(spec.id)
        events = Path(f"/sys/fs/cgroup/netd/{spec.id}/cgroup.events").read_text()
        await box2.launcher.resume(spec.id)
        await box2.launcher.pause(spec.id)
        await box2.launcher.kill_all(spec.id)
        assert "frozen 1" in events
        return await running.wait()

    assert box2.run(scenario()).code == 137


@needs_host_root
def test_devices_are_filtered(box2: Box) -> None:
    script = "mknod /tmp/z c 1 5 && head -c 1 /tmp/z | wc -c; mknod /tmp/l b 7 0 && cat /tmp/l"
    code, out, err = box2.try_shell(script)
    assert (out, code) == ("1\n", 1)
    assert "not permitted" in err
    assert box2.try_shell(script, limits=Limits(device_rules=("b 7:0 rwm",)))[0] == 0


def test_a_limit_without_its_controller_is_named(box2: Box) -> None:
    (only,) = cgroups.find()
    if "memory" in only.controllers:
        assert box2.shell("cat /sys/fs/cgroup/memory.max", limits=Limits(memory=64 << 20)).strip() == str(64 << 20)
    else:
        with pytest.raises(StartError, match="no memory controller"):
            box2.start(box2.spec("true", limits=Limits(memory=64 << 20)))


def test_burst(box2: Box) -> None:
    async def run_once() -> int:
        spec = box2.spec("true")
        running = await box2.launcher.prepare(spec)
        await box2.launcher.release(running)
        code = (await running.wait()).code
        await box2.launcher.discard(spec.id)
        return code

    async def scenario() -> list[int]:
        return await asyncio.gather(*(run_once() for _ in range(8)))

    assert box2.run(scenario()) == [0] * 8
