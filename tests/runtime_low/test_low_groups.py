"""Control groups: limits, the OOM killer, freezing, killing."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from low_box import Box, groups_of, read_until

from runtime.spec import ExitStatus, Limits, StartError


def group_file(identifier: str, name: str) -> str:
    controller = {"cpu": "cpu", "cpuset": "cpuset", "memory": "memory", "pids": "pids"}[name.split(".")[0]]
    return Path(f"/sys/fs/cgroup/{controller}/netd/{identifier}/{name}").read_text().strip()


def test_limits_are_in_the_kernels_files(box: Box) -> None:
    limits = Limits(
        cpu_period=50_000, cpu_quota=25_000, cpu_shares=512, cpuset_cpus="0", memory=64 << 20, memory_swap=96 << 20,
        memory_reservation=32 << 20, pids=77,
    )  # fmt: skip
    spec = box.spec("sleep", "1000", limits=limits)
    box.start(spec)
    wanted = {
        "cpu.cfs_period_us": "50000", "cpu.cfs_quota_us": "25000", "cpu.shares": "512", "cpuset.cpus": "0",
        "memory.limit_in_bytes": str(64 << 20), "memory.memsw.limit_in_bytes": str(96 << 20),
        "memory.soft_limit_in_bytes": str(32 << 20), "pids.max": "77",
    }  # fmt: skip
    there = {
        name: value
        for name, value in wanted.items()
        if Path(f"/sys/fs/cgroup/{name.split('.')[0]}/netd/{spec.id}/{name}").exists()
    }
    assert {name: group_file(spec.id, name) for name in there} == there
    assert "cpu.cfs_quota_us" in there


def test_a_limit_that_the_kernel_refuses_is_named(box: Box) -> None:
    with pytest.raises(StartError, match=r"cannot write '4000' to .*cpuset\.cpus"):
        box.start(box.spec("true", limits=Limits(cpuset_cpus="4000")))


def test_processes_beyond_the_limit_are_refused(box: Box) -> None:
    code, _out, err = box.try_shell("for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait", limits=Limits(pids=4))
    assert code != 0
    assert "can't fork" in err


def test_running_out_of_memory_is_told(box: Box) -> None:
    limits = Limits(memory=16 << 20, memory_swap=16 << 20)
    running = box.start(box.spec("sh", "-c", "exec tail -c 100m /dev/zero", limits=limits))
    status = box.run(running.wait())
    assert (status.code, status.oom_killed) == (137, True)


def test_memory_that_ran_out_for_a_child_is_told_as_well(box: Box) -> None:
    limits = Limits(memory=16 << 20, memory_swap=16 << 20)
    running = box.start(box.spec("sh", "-c", "tail -c 100m /dev/zero; exit 0", limits=limits))
    status = box.run(running.wait())
    assert (status.code, status.oom_killed) == (0, True)


def test_paused_processes_stand_still_until_resumed(box: Box) -> None:
    spec = box.spec("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done")

    async def scenario() -> ExitStatus:
        running = await box.launcher.prepare(spec)
        attachment = await running.attach(stdin=False)
        await box.launcher.release(running)
        await read_until(attachment, b"up\n")
        await box.launcher.pause(spec.id)
        state = Path(f"/sys/fs/cgroup/freezer/netd/{spec.id}/freezer.state").read_text()
        await running.signal(signal.SIGTERM)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await running.wait()
        await box.launcher.resume(spec.id)
        assert state == "FROZEN\n"
        return await running.wait()

    assert box.run(scenario()).code == 3


def test_all_processes_are_killed_even_when_paused_and_forking(box: Box) -> None:
    spec = box.spec("sh", "-c", "while :; do sleep 0.5 & done", limits=Limits(pids=200))
    running = box.start(spec)
    box.until(lambda: len(box.launcher.pids(spec.id)) > 50)
    box.run(box.launcher.pause(spec.id))
    box.run(box.launcher.kill_all(spec.id))
    assert box.run(running.wait()).code == 137
    assert groups_of(spec.id) == []
    assert box.launcher.pids(spec.id) == ()


def test_pids_are_all_processes_of_the_container(box: Box) -> None:
    spec = box.spec("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    running = box.start(spec)
    box.until(lambda: len(box.launcher.pids(spec.id)) == 3)
    assert running.pid in box.launcher.pids(spec.id)
    box.run(box.launcher.kill_all(spec.id))
    assert box.run(running.wait()).code == 137


def test_the_container_sees_its_own_groups_and_changes_none(box: Box) -> None:
    script = (
        "cd /sys/fs/cgroup; cat memory/cgroup.procs; mkdir memory/x; echo 1 > pids/pids.max;"
        " mount -o remount,rw /sys/fs/cgroup/pids; find . -name release_agent"
    )
    spec = box.spec("sh", "-c", script)
    code, out, err = box.complete(spec)
    assert code == 0
    assert "1\n" in out
    assert "release_agent" not in out
    assert err.count("Read-only") == 2
    assert "permission denied" in err


def test_another_parent_group_is_used_and_stays_because_its_limits_are_the_users(box: Box) -> None:
    name = f"netd-test-{box.folder.name[:20]}"
    spec = box.spec("cat", "/proc/self/cgroup", cgroup_parent=name)
    _code, out, _err = box.complete(spec)
    assert f"/{name}/{spec.id}" in out
    box.run(box.launcher.close())
    left = list(Path("/sys/fs/cgroup").glob(f"*/{name}"))
    assert left
    for path in left:
        path.rmdir()
    box.run(box.launcher.start())
