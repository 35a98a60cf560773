"""Containers leave no processes, groups, mounts, descriptors or files."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from pathlib import Path

import pytest
from low_box import Box, parent_of, wait_gone

from runtime.spec import ContainerSpec, StartError


def snapshot(box: Box) -> dict[str, object]:
    """Return what a container could leave: control groups, mounts, descriptors, run files."""
    gc.collect()  # Objects of earlier tests hold descriptors until then.
    groups = sorted(str(path) for path in Path("/sys/fs/cgroup").glob("*/netd/*") if len(path.name) == 64)
    return {
        "groups": [path for path in groups if path.rpartition("/")[2] in {spec.id for spec in box.specs}],
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "files": sorted(os.listdir(box.folder / "run/shims")),
    }


def test_fifty_cycles_of_all_kinds_leave_nothing(tmp_path: Path, image: Path, netns: str) -> None:
    box = Box(tmp_path, image, netns)

    async def run_and_discard(spec: ContainerSpec, end: str) -> None:
        running = await box.launcher.prepare(spec)
        if end == "never":
            await box.launcher.discard(spec.id)
            return
        try:
            await box.launcher.release(running)
        except StartError:
            return
        if end == "kill":
            await running.signal(signal.SIGKILL)
        elif end == "all":
            await box.launcher.kill_all(spec.id)
        await running.wait()
        await box.launcher.discard(spec.id)

    async def scenario() -> None:
        plans = [("true",), ("sleep", "9"), ("sh", "-c", "sleep 9 & sleep 9"), ("nothing",), ("sleep", "9")]
        ends = ["wait", "kill", "all", "wait", "never"]
        for number in range(50):
            kind = number % 5
            await run_and_discard(box.spec(*plans[kind], process={"tty": number % 2 == 0}), ends[kind])

    box.drop()
    before = snapshot(box)
    box.restart_after_drop()
    box.run(scenario(), 60)
    box.drop()
    assert snapshot(box) == before
    assert before["groups"] == before["files"] == []
    box.runner.close()


def test_many_at_once_all_run_and_all_go(box: Box) -> None:
    async def run_once(number: int) -> int:
        spec = box.spec("sh", "-c", f"exit {number}")
        running = await box.launcher.prepare(spec)
        await box.launcher.release(running)
        status = await running.wait()
        await box.launcher.discard(spec.id)
        return status.code

    async def scenario() -> list[int]:
        return await asyncio.gather(*(run_once(number) for number in range(20)))

    assert box.run(scenario()) == list(range(20))
    assert snapshot(box)["files"] == []


def test_closing_ends_all_helpers_and_leaves_containers(box: Box) -> None:
    spec = box.spec("sleep", "1000")
    running = box.start(spec)
    helpers = [*zygotes(), *(pid for pid in idle_shims(box) if pid != parent_of(running.pid))]
    assert len(helpers) >= 3
    box.drop()
    for pid in helpers:
        wait_gone(pid)
    assert running.pid in box_pids(spec.id)
    box.restart_after_drop()
    assert box.launcher.pids(spec.id) == [running.pid]


def zygotes() -> list[int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "netd-zygote\n"]


def box_pids(identifier: str) -> list[int]:
    for path in Path("/sys/fs/cgroup").glob(f"*/netd/{identifier}/cgroup.procs"):
        return [int(line) for line in path.read_text().split()]
    return []


@pytest.mark.parametrize("victim", ["netd-setup", "netd-shim"])
def test_idle_shims_that_are_killed_are_replaced_and_their_groups_removed(box: Box, victim: str) -> None:
    assert box.shell("echo 1") == "1\n"
    killed = [pid for pid in idle_shims(box) if Path(f"/proc/{pid}/comm").read_text().strip() == victim]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    for pid in killed:
        wait_gone(pid, reaped=True)
    assert box.shell("echo 2") == "2\n"
    box.restart()
    left = [p.name for p in Path("/sys/fs/cgroup").glob("*/netd/spare-*") if int(p.name.split("-")[1]) in killed]
    assert killed
    assert left == []


def idle_shims(box: Box) -> list[int]:
    """Return the shims and setup processes of this box: those with its folder of shims open."""
    shims = box.folder / "run/shims"
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if shims.samefile(process / "fd/4"):
                found.append(int(process.name))
        except OSError:
            continue
    return found
