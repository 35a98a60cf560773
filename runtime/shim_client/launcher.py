"""Starts, finds and ends processes in containers: the daemon's side of the zygote and the shims.

Owns ``RUN/shims`` and the containers' control groups.  Nothing it knows is needed to keep containers running: a new
daemon's launcher finds everything again by :meth:`Launcher.adopt`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Sequence
from functools import partial
from pathlib import Path

from netd.common import folders, resource_errors
from netd.common.tasks import Failures, Tasks
from runtime import frames
from runtime.kernel import cgroups
from runtime.shim import shimdir, spawn
from runtime.shim_client.channel import GONE, Channel, connect
from runtime.shim_client.running import ShimProcess
from runtime.shim_client.shim_pool import ShimPool
from runtime.shim_client.supervisor import Running
from runtime.spec import ContainerSpec, ExitStatus, Process, StartError

_ATTEMPTS = 3
_LOST = "its shim was killed, and it ended before it was found again"


class ShimLauncher:
    """See :class:`runtime.shim_client.supervisor.Supervisor`."""

    def __init__(
        self,
        run_dir: Path,
        *,
        spares: int = 2,
        failures: Failures | None = None,
        nofile: tuple[int, int] | None = None,
        mapped: bool = False,
    ) -> None:
        """*failures* is told of what goes wrong in the background; *nofile* is the containers' limit on descriptors.

        With *mapped*, what waits ready is for containers with user namespaces.
        """
        self._tasks = Tasks(failures)
        self._directory = run_dir / "shims"
        self._shims = -1
        self._nursery = ShimPool(spares, self._tasks, nofile, mapped=mapped)
        self._hierarchies: tuple[cgroups.Hierarchy, ...] = ()
        self._known: dict[str, ShimProcess] = {}
        self._parents = {spawn.PARENT}

    async def start(self) -> None:
        folders.make(self._directory, folders.PRIVATE)
        self._shims = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        self._hierarchies = cgroups.find()
        execs = await asyncio.to_thread(self._sweep)
        await self._nursery.start(self._shims)
        for identifier in execs:
            await self._adopt_exec(identifier)

    async def _adopt_exec(self, identifier: str) -> None:
        try:
            if not isinstance(await self.adopt(identifier), ShimProcess):
                shimdir.remove(self._shims, identifier)
        except (OSError, frames.Broken) as error:
            # The end of its container removes what is left of it.
            self._tasks.failures.report(f"adopt {identifier[:12]}", error)

    async def prepare(self, container: ContainerSpec) -> ShimProcess:
        await self._make_room(container)
        words = frames.pack_spec(container)
        for _ in range(_ATTEMPTS):
            channel = await self._spare()
            try:
                return await self._begin(channel, channel.send(frames.PREPARE, words))
            except frames.Broken:
                shimdir.remove(self._shims, container.id)
        raise StartError(f"the shims that were to make container {container.id[:12]} were killed")

    async def exec(self, container_id: str, pid: int, process: Process, exec_id: str) -> ShimProcess:
        group = self._group(container_id)
        try:
            target = os.pidfd_open(pid)
        except ProcessLookupError:
            raise StartError(f"container {container_id[:12]} is not running") from None
        try:
            if pid not in group.pids():
                raise StartError(f"container {container_id[:12]} is not running")
            _check_users(container_id, pid, process)
            channel = await self._nursery.fresh(frames.JOIN)
            words = frames.pack((frames.pack_spec(process), group.name, container_id, exec_id))
            return await self._begin(channel, _send_with(channel, words, target))
        except frames.Broken:
            raise StartError(f"the shim of an exec in container {container_id[:12]} was killed") from None
        finally:
            os.close(target)

    async def namespaces(self, first: int, count: int, donor: str, *, network: bool) -> list[int]:
        channel = await self._nursery.fresh(frames.NAMESPACES)
        try:
            await channel.send(frames.NAMESPACES, frames.pack((first, count, donor, network)))
            kind, payload = await channel.receive()
            if kind == frames.FAILED:
                raise StartError(f"cannot make a user namespace: {frames.unpack_tuple(payload)[1]}")
            return channel.take_descriptors()
        except frames.Broken:
            raise StartError("cannot make a user namespace: the process that was to make it was killed") from None
        finally:
            channel.close()

    async def release(self, running: Running) -> None:
        process = self._known[running.id]
        try:
            await process.release()
        except BaseException:
            del self._known[running.id]
            process.let_go()
            raise
        finally:
            self._nursery.refill()
        self._look_after(process)

    async def cancel(self, running: Running) -> None:
        process = self._known.pop(running.id, None)
        if process is not None:
            await process.cancel()
            shimdir.remove(self._shims, running.id)

    async def adopt(self, container_id: str) -> ShimProcess | ExitStatus | None:
        if container_id in self._known:
            return self._known[container_id]
        try:
            directory = os.open(container_id, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._shims)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return await self._find(container_id, directory)
        finally:
            os.close(directory)

    async def pause(self, container_id: str) -> None:
        await asyncio.to_thread(self._group(container_id).freeze)

    async def resume(self, container_id: str) -> None:
        await asyncio.to_thread(self._group(container_id).thaw)

    async def kill_all(self, container_id: str) -> None:
        await asyncio.to_thread(self._group(container_id).kill)

    async def discard(self, container_id: str) -> None:
        """Remove what is left of a container; one that still runs is killed first."""
        group = self._group(container_id)
        process = await self.adopt(container_id)
        self._known.pop(container_id, None)
        if isinstance(process, ShimProcess):
            await self._end(process, group)
        if group.exists():
            await asyncio.to_thread(group.kill)
            await asyncio.to_thread(group.remove)
        shimdir.remove(self._shims, container_id)

    def pids(self, container_id: str) -> Sequence[int]:
        """Return the host's ids of all processes in the container; none when there is no such container."""
        group = self._group(container_id)
        return group.pids() if group.exists() else ()

    async def close(self) -> None:
        await self._nursery.settle()
        await self._tasks.close()
        for process in self._known.values():
            process.let_go()
        await self._nursery.close()
        spawn.sweep_spares(self._hierarchies)
        for parent in self._parents:
            cgroups.Group(self._hierarchies, f"{parent}/any").remove_parent()
        if self._shims >= 0:
            os.close(self._shims)
            self._shims = -1

    def _group(self, container_id: str) -> cgroups.Group:
        known = self._known.get(container_id)
        state = known.state if known else self._read_state(container_id)
        return cgroups.Group(self._hierarchies, state["group"] if state else f"{spawn.PARENT}/{container_id}")

    def _read_state(self, identifier: str) -> dict[str, str] | None:
        try:
            directory = os.open(identifier, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._shims)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return shimdir.read_state(directory)
        finally:
            os.close(directory)

    async def _end(self, process: ShimProcess, group: cgroups.Group) -> None:
        if not process.started:
            await process.cancel()
        elif not process.ended:
            await asyncio.to_thread(group.kill)
            await process.wait()

    async def _spare(self) -> Channel:
        try:
            return await self._nursery.spare()
        except (OSError, frames.Broken) as error:
            what = "no process can be prepared for containers"
            raise resource_errors.problem(error, what) or StartError(str(error)) from error

    async def _make_room(self, container: ContainerSpec) -> None:
        """Remove what an earlier start of the container has left.  Raises StartError when it is still running."""
        if not (self._directory / container.id).exists():
            return
        found = await self.adopt(container.id)
        if isinstance(found, ShimProcess) and not found.ended:
            raise StartError(f"container {container.id[:12]} is already running")
        await self.discard(container.id)

    async def _begin(self, channel: Channel, sending: Awaitable[None]) -> ShimProcess:
        """Return the process that the shim at *channel* has prepared.  Raises wire.Broken when the shim dies."""
        try:
            await sending
            kind, payload = await channel.receive()
            if kind == frames.FAILED:
                code, message = frames.unpack_tuple(payload)
                raise StartError(message, code)
            process = ShimProcess(self._shims, channel, frames.unpack(payload))  # type: ignore[arg-type]
        except BaseException:
            channel.close()
            raise
        self._remember(process)
        return process

    def _remember(self, process: ShimProcess) -> None:
        self._known[process.id] = process
        self._parents.add(os.path.dirname(process.group))

    async def _find(self, identifier: str, directory: int) -> ShimProcess | ExitStatus | None:
        if (status := shimdir.read_exit(directory)) is not None:
            return ExitStatus(*status)
        process = await self._greet(identifier)
        if process is None:
            state = shimdir.read_state(directory)
            if state is None:
                return None
            process = ShimProcess(self._shims, None, state)
            if process.lost:
                return _record_loss(directory)
            await self._revive(process)
        self._remember(process)
        self._look_after(process)
        return process

    async def _greet(self, identifier: str) -> ShimProcess | None:
        """Return the process by its living shim."""
        try:
            channel = await connect(self._shims, identifier + shimdir.SOCKET_SUFFIX)
        except GONE:
            return None
        try:
            await channel.send(frames.HELLO)
            _kind, payload = await channel.receive()
            return ShimProcess(self._shims, channel, frames.unpack(payload))  # type: ignore[arg-type]
        except frames.Broken:
            channel.close()
            return None
        except BaseException:
            channel.close()
            raise

    async def _revive(self, process: ShimProcess) -> None:
        """Give a process whose shim is gone another one, or its end."""
        directory = os.open(process.id, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._shims)
        try:
            if (status := shimdir.read_exit(directory)) is not None:
                process.end(ExitStatus(*status))
                return
            channel = await self._nursery.fresh(frames.SUCCEED)
            try:
                await process.adopt_by(channel)
            except frames.Broken:
                channel.close()
                process.end(_record_loss(directory))
        finally:
            os.close(directory)

    def _look_after(self, process: ShimProcess) -> None:
        self._tasks.loop(partial(self._follow, process), f"follow {process.id[:12]}")

    async def _follow(self, process: ShimProcess) -> None:
        await process.follow(partial(self._revive, process))
        if process.state["container"] != process.id:
            self._known.pop(process.id, None)
            shimdir.remove(self._shims, process.id)

    def _sweep(self) -> list[str]:
        """Remove what killed spares have left; return the execs that were there when the last daemon ended."""
        spawn.sweep_spares(self._hierarchies)
        names = [name for name in os.listdir(self._shims) if not name.endswith(shimdir.SOCKET_SUFFIX)]
        states = {name: self._read_state(name) for name in names}
        return [name for name, state in states.items() if state and state["container"] != name]


def _check_users(container_id: str, pid: int, process: Process) -> None:
    """Raise StartError for a process that would enter another user namespace as root of the host, or the reverse."""
    try:
        theirs = os.stat(f"/proc/{pid}/ns/user").st_ino
    except FileNotFoundError:
        raise StartError(f"container {container_id[:12]} is not running") from None
    if (theirs != os.stat("/proc/self/ns/user").st_ino) != bool(process.root):
        raise StartError(f"container {container_id[:12]} is not in the user namespace of its record: restart it")


async def _send_with(channel: Channel, payload: bytes, descriptor: int) -> None:
    channel.send_with(frames.EXEC, payload, (descriptor,))


def _record_loss(directory: int) -> ExitStatus:
    status = (255, shimdir.now(), False, _LOST)
    shimdir.write_exit(directory, status)
    return ExitStatus(*status)
