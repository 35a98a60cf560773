"""A container whose network namespace becomes known while it is prepared."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from low_box import Box, collect, groups_of, parent_of, wait_gone

from runtime.kernel import proc
from runtime.spec import ContainerSpec, MountSpec, StartError


@pytest.fixture
def namespace() -> Iterator[str]:
    """The path of a network namespace with the link ``late0``."""
    name = f"late-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "add", "late0", "type", "bridge"], check=True)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "netns", "del", name], check=True)


def late(box: Box, *argv: str, **changes: Any) -> ContainerSpec:
    return box.spec(*argv, netns=None, network_later=True, **changes)


async def prepared(box: Box, spec: ContainerSpec, answer: str | Exception | None, *, begun: bool = True) -> Any:
    """Prepare a container whose network becomes known later: with *begun*, when its setup has begun."""
    network: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    preparing = asyncio.ensure_future(box.launcher.prepare(spec, network))
    await until(lambda: not begun or (box.folder / "run" / "shims" / spec.id).exists())
    if isinstance(answer, Exception):
        network.set_exception(answer)
    else:
        network.set_result(answer)
    return await preparing


def output(box: Box, spec: ContainerSpec, answer: str | None) -> str:
    async def scenario() -> str:
        running = await prepared(box, spec, answer)
        taking = asyncio.ensure_future(collect(running))
        await asyncio.sleep(0)
        await box.launcher.release(running)
        out, _ = await taking
        await running.wait()
        return out.decode()

    found: str = box.run(scenario())
    return found


def test_the_container_is_in_the_namespace_and_so_is_its_sysfs(box: Box, namespace: str) -> None:
    spec = late(box, "sh", "-c", "readlink /proc/self/ns/net; ls /sys/class/net")
    inode = os.stat(namespace).st_ino
    assert output(box, spec, namespace).split() == [f"net:[{inode}]", "late0", "lo"]


def test_mounts_below_sys_are_not_hidden(box: Box, namespace: str) -> None:
    mount = MountSpec(kind="tmpfs", target="/sys/fs/cgroup")
    spec = late(box, "sh", "-c", "grep -c ' /sys/fs/cgroup tmpfs' /proc/mounts; ls -A /sys/fs/cgroup", mounts=(mount,))
    assert output(box, spec, namespace).split()[-1].isdigit()


def test_without_a_path_the_container_shares_the_network_of_the_daemon(box: Box) -> None:
    spec = late(box, "readlink", "/proc/self/ns/net")
    assert output(box, spec, None).strip() == f"net:[{proc.namespace_inode('/proc/self/ns/net')}]"


def test_a_network_that_fails_leaves_nothing_and_the_next_start_succeeds(box: Box, namespace: str) -> None:
    spec = late(box, "true")
    with pytest.raises(LookupError, match="refused"):
        box.run(prepared(box, spec, LookupError("refused")))
    assert groups_of(spec.id) == [] and os.listdir(box.folder / "run" / "shims") == []
    assert output(box, spec, namespace) == ""


def test_an_error_of_the_preparation_is_the_one_that_is_reported(box: Box, namespace: str) -> None:
    spec = late(box, "true", lower=("/nothing",))
    with pytest.raises(StartError, match="cannot mount the root"):
        box.run(prepared(box, spec, namespace, begun=False))
    inside = late(box, "true", process={"cwd": "/etc/passwd"})
    with pytest.raises(StartError, match="/etc/passwd is not a directory"):
        box.run(prepared(box, inside, namespace))
    unknown = late(box, "true")
    with pytest.raises(StartError, match="/nothing"):
        box.run(prepared(box, unknown, "/nothing"))
    assert os.listdir(box.folder / "run" / "shims") == []


def test_a_shim_that_is_killed_meanwhile_is_replaced(box: Box, namespace: str) -> None:
    spec = late(box, "echo", "done")

    async def scenario() -> bytes:
        network: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        preparing = asyncio.ensure_future(box.launcher.prepare(spec, network))
        await until(lambda: box.launcher.pids(spec.id))
        shim = parent_of(box.launcher.pids(spec.id)[0])
        children = Path(f"/proc/{shim}/task/{shim}/children").read_text().split()
        os.kill(shim, signal.SIGKILL)
        for child in children:  # the setup process and the first process
            wait_gone(int(child))
        network.set_result(namespace)
        running = await preparing
        taking = asyncio.ensure_future(collect(running))
        await asyncio.sleep(0)
        await box.launcher.release(running)
        out, _ = await taking
        await running.wait()
        return out

    assert box.run(scenario()) == b"done\n"


def test_the_end_of_the_process_is_known_before_its_shim_reports_it(box: Box) -> None:
    running = box.start(box.spec("sleep", "1000"))
    shim = parent_of(running.pid)
    os.kill(shim, signal.SIGSTOP)
    try:
        box.run(running.signal(signal.SIGKILL))
        box.run(running.wait_process())
        assert not running.ended
    finally:
        os.kill(shim, signal.SIGCONT)
    assert box.run(running.wait()).code == 137
    box.run(running.wait_process())


def test_the_stop_of_the_daemon_is_no_end_of_a_process(box: Box) -> None:
    """Its sandbox would be deleted otherwise, and the running container would have no network."""
    running, ends = box.start(box.spec("sleep", "1000")), []

    async def stop() -> None:
        running.call_at_end(lambda: ends.append(running.id))
        await box.launcher.close()
        await asyncio.sleep(0)  # callbacks of futures are called by the event loop

    box.run(stop())
    assert not ends and Path(f"/proc/{running.pid}").exists()
    box.restart_after_drop()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a state that is not notified; the box limits the time."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
