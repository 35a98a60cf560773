"""Containers from a busybox root, run through a launcher of the test's own."""

from __future__ import annotations

import asyncio
import os
import secrets
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.kernel import capabilities, seccomp
from runtime.shim_client.launcher import ShimLauncher
from runtime.shim_client.running import ShimProcess
from runtime.spec import ContainerSpec, ExitStatus, Process

DEADLINE = 20.0
MAPPED = bool(os.environ.get("NETD_TEST_USERNS"))
"""Run every container that can have one in a user namespace."""
FIRST_ID = 200_000
needs_host_root = pytest.mark.skipif(MAPPED, reason="root of a user namespace cannot do that")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def make_image(folder: Path) -> Path:
    """Make the root of an image: busybox, its applets, and the files in which users are looked up."""
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "home"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (folder / "bin" / applet).symlink_to("busybox")
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nal:x:1000:1000::/home/al:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\nal:x:1000:\nextra:x:2000:al\nmore:x:2001:\n")
    return folder


class Box:
    """One launcher in a folder of its own, and an event loop to drive it."""

    def __init__(self, folder: Path, image: Path, netns: str) -> None:
        self.folder = folder
        self.image = image
        self.netns = netns
        self.runner = asyncio.Runner()
        self.launcher = ShimLauncher(folder / "run", mapped=MAPPED)
        self.run(self.launcher.start())
        self.specs: list[ContainerSpec] = []
        self.held: list[int] = []
        self.shared = self.namespaces() if MAPPED else None

    def run(self, coroutine: Any, seconds: float = DEADLINE) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(seconds):
                return await coroutine

        return self.runner.run(bounded())

    def restart(self) -> None:
        """Simulate a restart of the daemon after it was killed: a new launcher without the state of the old one."""
        self.drop()
        self.restart_after_drop()

    def restart_after_drop(self) -> None:
        self.launcher = ShimLauncher(self.folder / "run", mapped=MAPPED)
        self.run(self.launcher.start())

    def drop(self) -> None:
        """Simulate a killed daemon: close the launcher with all its descriptors."""
        self.runner.run(self.launcher.close())

    def close(self) -> None:
        for spec in self.specs:
            self.run(self.launcher.discard(spec.id))
        self.run(self.launcher.close())
        self.runner.close()
        for descriptor in self.held:
            os.close(descriptor)

    def process(self, *argv: str, **changes: Any) -> Process:
        given = capabilities.DEFAULT
        program = seccomp.default_program(given)
        root = FIRST_ID if self.shared else 0
        made = Process(argv=argv, env=(PATH,), capabilities=given, seccomp=program, root=root)
        return replace(made, **changes)

    def namespaces(self) -> tuple[str, str]:
        """Return the paths of a user namespace and of a network with lo up that it owns; the box keeps them."""
        made = self.run(self.launcher.namespaces(FIRST_ID, 65536, "", network=True))
        self.held += made
        user, network = (f"/proc/{os.getpid()}/fd/{descriptor}" for descriptor in made)
        subprocess.run(["nsenter", f"--net={network}", "ip", "link", "set", "lo", "up"], check=True)
        return user, network

    def mapped_spec(self, *argv: str, process: dict[str, Any] | None = None, **changes: Any) -> ContainerSpec:
        """Describe a container in a user namespace of its own."""
        user, network = self.namespaces()
        return self.spec(*argv, process={"root": FIRST_ID, **(process or {})}, userns=user, netns=network, **changes)

    def spec(self, *argv: str, process: dict[str, Any] | None = None, **changes: Any) -> ContainerSpec:
        """Describe a container with a writable layer and a log of its own."""
        identifier = secrets.token_hex(32)
        own = self.folder / "containers" / identifier
        for name in ("diff", "work"):
            (own / name).mkdir(parents=True)
        made = ContainerSpec(
            id=identifier,
            hostname=identifier[:12],
            netns=self.netns,
            lower=(str(self.image),),
            upper=str(own / "diff"),
            work=str(own / "work"),
            log_path=str(own / "log"),
            process=self.process(*argv, **(process or {})),
        )
        made = replace(made, **changes)
        if self.shared and not made.userns and not _can_be_mapped(made):
            made = replace(made, process=replace(made.process, root=0))
        elif self.shared and not made.userns:
            own_network = made.netns == self.netns
            made = replace(
                made,
                userns=self.shared[0],
                netns=self.shared[1] if own_network else made.netns,
            )
        self.specs.append(made)
        return made

    def shell(self, script: str, **changes: Any) -> str:
        """Run a script in a fresh container; return what it wrote to standard output.  It has to succeed."""
        code, out, err = self.try_shell(script, **changes)
        assert code == 0, (code, out, err)
        return out

    def try_shell(self, script: str, **changes: Any) -> tuple[int, str, str]:
        return self.complete(self.spec("sh", "-c", script, **changes))

    def complete(self, spec: ContainerSpec) -> tuple[int, str, str]:
        """Run a container to its end and remove it; return its code and both outputs."""

        async def scenario() -> tuple[ExitStatus, bytes, bytes]:
            running = await self.launcher.prepare(spec)
            taking = asyncio.ensure_future(collect(running))
            try:
                await asyncio.sleep(0)
                await self.launcher.release(running)
                out, err = await taking
                return await running.wait(), out, err
            finally:
                taking.cancel()
                await self.launcher.discard(spec.id)

        status, out, err = self.run(scenario())
        return status.code, out.decode(errors="replace"), err.decode(errors="replace")

    def start(self, spec: ContainerSpec) -> ShimProcess:
        async def scenario() -> ShimProcess:
            running = await self.launcher.prepare(spec)
            await self.launcher.release(running)
            return running

        found: ShimProcess = self.run(scenario())
        return found

    def until(self, condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Run the event loop until *condition* holds, for states that are not notified."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition did not hold in time"
            self.runner.run(asyncio.sleep(0.01))

    def exec(self, spec: ContainerSpec, pid: int, process: Process) -> tuple[int, str, str]:
        async def scenario() -> tuple[ExitStatus, bytes, bytes]:
            mapped = replace(process, root=spec.process.root)
            running = await self.launcher.exec(spec.id, pid, mapped, secrets.token_hex(32))
            attachment = await running.attach(stdin=False)
            await self.launcher.release(running)
            out, err = await read_all(attachment)
            return await running.wait(), out, err

        status, out, err = self.run(scenario())
        return status.code, out.decode(errors="replace"), err.decode(errors="replace")


def _can_be_mapped(spec: ContainerSpec) -> bool:
    return bool(spec.netns) and not spec.privileged and "host" not in (spec.pid_mode, spec.ipc_mode)


async def collect(running: ShimProcess) -> tuple[bytes, bytes]:
    return await read_all(await running.attach(stdin=False))


async def read_all(attachment: Any) -> tuple[bytes, bytes]:
    parts: dict[int, list[bytes]] = {1: [], 2: []}
    async for stream, data in attachment:
        parts[stream].append(data)
    await attachment.close()
    return b"".join(parts[1]), b"".join(parts[2])


async def read_until(attachment: Any, wanted: bytes) -> bytes:
    """Read until the output contains *wanted*."""
    seen = b""
    async for _stream, data in attachment:
        seen += data
        if wanted in seen:
            return seen
    raise AssertionError(f"the stream ended before {wanted!r}: {seen!r}")


def parent_of(pid: int) -> int:
    """Return the parent's process id: of a container's first process, its shim."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def groups_of(identifier: str) -> list[Path]:
    return [path for path in Path("/sys/fs/cgroup").glob(f"*/netd/{identifier}") if path.is_dir()]


def has_ended(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def wait_gone(pid: int, *, reaped: bool = False) -> None:
    """Wait until the process has ended; *reaped*: until its parent has reaped it as well."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(descriptor, 0 if reaped else select.POLLIN)
    assert poll.poll(10_000), f"process {pid} is still there"
    os.close(descriptor)
