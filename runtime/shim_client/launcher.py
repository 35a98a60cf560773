"""Implements :class:`runtime.shim_client.supervisor.Supervisor` by the zygote and shims.

Owns ``RUN/shims`` and the containers' control groups.  Containers do not depend on its state: the launcher of a new
daemon reconnects to them by :meth:`ShimLauncher.adopt`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from netd.common import folders, resource_errors
from netd.common.tasks import Failures, Tasks
from runtime import frames
from runtime.kernel import cgroups
from runtime.shim import shimdir, spawn
from runtime.shim_client.channel import NOT_LISTENING, Channel, connect
from runtime.shim_client.running import ShimProcess
from runtime.shim_client.shim_pool import ShimPool
from runtime.shim_client.supervisor import Running
from runtime.spec import ContainerSpec, ExitStatus, Limits, Process, StartError

if TYPE_CHECKING:
    from runtime.frames import ShimState

_ATTEMPTS = 3
_LOST = "its shim was killed, and the process ended before another shim was attached"


class ShimLauncher:
    """See :class:`runtime.shim_client.supervisor.Supervisor`."""

    def __init__(
        self,
        run_dir: Path,
        *,
        idle_shims: int = 2,
        failures: Failures | None = None,
        nofile: tuple[int, int] | None = None,
        mapped: bool = False,
    ) -> None:
        """*failures* counts errors of background tasks; *nofile* is (soft, hard) of the containers' RLIMIT_NOFILE.

        With *mapped*, idle shims are prepared for containers with user namespaces.
        """
        self._tasks = Tasks(failures)
        self._directory = run_dir / "shims"
        self._shims = -1
        self._pool = ShimPool(idle_shims, self._tasks, nofile, mapped=mapped)
        self._hierarchies: tuple[cgroups.Hierarchy, ...] = ()
        self._known: dict[str, ShimProcess] = {}

    async def start(self, containers: Collection[str] = ()) -> None:
        folders.make(self._directory, folders.PRIVATE)
        self._shims = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        self._hierarchies = cgroups.find()
        execs = await asyncio.to_thread(self._remove_left_overs, containers)
        await self._pool.start(self._shims)
        for identifier in execs:
            await self._adopt_exec(identifier)

    async def _adopt_exec(self, identifier: str) -> None:
        try:
            if not isinstance(await self.adopt(identifier), ShimProcess):
                shimdir.remove(self._shims, identifier)
        except (OSError, frames.ChannelError) as error:
            # Its folder stays, and the next start of the daemon tries again.
            self._tasks.failures.report(f"adopt {identifier[:12]}", error)

    async def prepare(self, container: ContainerSpec, network: asyncio.Future[str | None] | None = None) -> ShimProcess:
        await self._remove_previous(container)
        payload = frames.pack_spec(container)
        for _ in range(_ATTEMPTS):
            channel = await self._take_idle()
            try:
                return await self._receive_prepared(channel, _send_prepare(channel, payload, network))
            except frames.ChannelError:
                await self.discard(container.id)  # its first process may not have ended yet
        raise StartError(f"the shims of container {container.id[:12]} were killed during its start; try again")

    async def exec(self, container_id: str, pid: int, process: Process, exec_id: str) -> ShimProcess:
        group = self._group(container_id)
        try:
            target = os.pidfd_open(pid)
        except ProcessLookupError:
            raise StartError(f"container {container_id[:12]} is not running") from None
        try:
            if pid not in group.pids():
                raise StartError(f"container {container_id[:12]} is not running")
            _check_user_namespace(container_id, pid, process)
            channel = await self._pool.request(frames.SETUP_EXEC)
            payload = frames.pack_exec(process, group.name, container_id, exec_id)
            return await self._receive_prepared(channel, _send_with(channel, payload, target))
        except frames.ChannelError:
            raise StartError(f"the shim of an exec in container {container_id[:12]} was killed; try again") from None
        finally:
            os.close(target)

    async def namespaces(self, first: int, count: int, donor: str, *, network: bool) -> list[int]:
        channel = await self._pool.request(frames.SETUP_NAMESPACES)
        try:
            await channel.send(frames.SETUP_NAMESPACES, frames.pack_namespaces(first, count, donor, network=network))
            kind, payload = await channel.receive()
            if kind == frames.FAILED:
                raise StartError(f"cannot make a user namespace: {frames.unpack_failure(payload)[1]}")
            return channel.take_descriptors()
        except frames.ChannelError:
            raise StartError(
                "cannot make a user namespace: the process that creates it was killed; try again"
            ) from None
        finally:
            channel.close()

    async def release(self, running: Running) -> None:
        process = self._known[running.id]
        try:
            await process.release()
        except BaseException:
            del self._known[running.id]
            process.close()
            raise
        finally:
            self._pool.refill()
        self._watch(process)

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
            return await self._find_process(container_id, directory)
        finally:
            os.close(directory)

    async def pause(self, container_id: str) -> None:
        await asyncio.to_thread(self._group(container_id).freeze)

    async def resume(self, container_id: str) -> None:
        await asyncio.to_thread(self._group(container_id).thaw)

    async def limit(self, container_id: str, limits: Limits) -> None:
        await asyncio.to_thread(self._group(container_id).limit, limits)

    async def kill_all(self, container_id: str) -> None:
        await asyncio.to_thread(self._group(container_id).kill)

    async def discard(self, container_id: str) -> None:
        """Kill a container that still runs, and remove its control group, folder and socket."""
        group = self._group(container_id)
        process = await self.adopt(container_id)
        self._known.pop(container_id, None)
        if isinstance(process, ShimProcess):
            await self._kill_and_wait(process, group)
        if group.exists():
            await asyncio.to_thread(group.kill)
            await asyncio.to_thread(group.remove)
        shimdir.remove(self._shims, container_id)

    def pids(self, container_id: str) -> Sequence[int]:
        """Return the host's ids of all processes in the container; () if there is no such container."""
        group = self._group(container_id)
        return group.pids() if group.exists() else ()

    async def close(self) -> None:
        await self._pool.wait_filled()
        await self._tasks.close()
        for process in self._known.values():
            process.close()
        await self._pool.close()
        spawn.remove_idle_groups(self._hierarchies)
        cgroups.Group(self._hierarchies, f"{spawn.PARENT}/any").remove_parent()
        if self._shims >= 0:
            os.close(self._shims)
            self._shims = -1

    def _group(self, container_id: str) -> cgroups.Group:
        known = self._known.get(container_id)
        state = known.state if known else self._read_state(container_id)
        return cgroups.Group(self._hierarchies, state["group"] if state else f"{spawn.PARENT}/{container_id}")

    def _read_state(self, identifier: str) -> ShimState | None:
        try:
            directory = os.open(identifier, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._shims)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return shimdir.read_state(directory)
        finally:
            os.close(directory)

    async def _kill_and_wait(self, process: ShimProcess, group: cgroups.Group) -> None:
        if not process.started:
            await process.cancel()
        elif not process.ended:
            await asyncio.to_thread(group.kill)
            await process.wait()

    async def _take_idle(self) -> Channel:
        try:
            return await self._pool.take_idle()
        except (OSError, frames.ChannelError) as error:
            what = "no process can be prepared for containers"
            raise resource_errors.problem(error, what) or StartError(str(error)) from error

    async def _remove_previous(self, container: ContainerSpec) -> None:
        """Remove the rest of an earlier start of the container.  Raises StartError if it is still running."""
        if not (self._directory / container.id).exists():
            return
        found = await self.adopt(container.id)
        if isinstance(found, ShimProcess) and not found.ended:
            raise StartError(f"container {container.id[:12]} is already running")
        await self.discard(container.id)

    async def _receive_prepared(self, channel: Channel, sending: Awaitable[None]) -> ShimProcess:
        """Return the process that the shim at *channel* has prepared.  Raises frames.ChannelError if that is killed."""
        try:
            await sending
            kind, payload = await channel.receive()
            if kind == frames.FAILED:
                code, message = frames.unpack_failure(payload)
                raise StartError(message, code)
            process = ShimProcess(self._shims, channel, frames.unpack_state(payload))
        except BaseException:
            channel.close()
            raise
        self._register(process)
        return process

    def _register(self, process: ShimProcess) -> None:
        self._known[process.id] = process

    async def _find_process(self, identifier: str, directory: int) -> ShimProcess | ExitStatus | None:
        if (status := shimdir.read_exit(directory)) is not None:
            return ExitStatus(*status)
        process = await self._connect(identifier)
        if process is None:
            state = shimdir.read_state(directory)
            if state is None:
                return None
            process = ShimProcess(self._shims, None, state)
            if process.lost:
                return _record_lost(directory)
            await self._reattach(process)
        self._register(process)
        self._watch(process)
        return process

    async def _connect(self, identifier: str) -> ShimProcess | None:
        """Connect to the shim; return its process, or None if the shim does not run."""
        try:
            channel = await connect(self._shims, identifier + shimdir.SOCKET_SUFFIX)
        except NOT_LISTENING:
            return None
        try:
            await channel.send(frames.HELLO)
            _kind, payload = await channel.receive()
            return ShimProcess(self._shims, channel, frames.unpack_state(payload))
        except frames.ChannelError:
            channel.close()
            return None
        except BaseException:
            channel.close()
            raise

    async def _reattach(self, process: ShimProcess) -> None:
        """Attach another shim to a process whose shim was killed; if that fails, record the process as ended."""
        directory = os.open(process.id, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._shims)
        try:
            if (status := shimdir.read_exit(directory)) is not None:
                process.end(ExitStatus(*status))
                return
            channel = await self._pool.request(frames.SETUP_REATTACH)
            try:
                await process.reattach(channel)
            except frames.ChannelError:
                channel.close()
                process.end(_record_lost(directory))
        finally:
            os.close(directory)

    def _watch(self, process: ShimProcess) -> None:
        self._tasks.loop(partial(self._follow, process), f"follow {process.id[:12]}")

    async def _follow(self, process: ShimProcess) -> None:
        await process.follow(partial(self._reattach, process))
        if process.state["container"] != process.id:
            self._known.pop(process.id, None)
            shimdir.remove(self._shims, process.id)

    def _remove_left_overs(self, containers: Collection[str]) -> list[str]:
        """Remove the groups of killed idle processes; return the ids of execs that an earlier daemon has started."""
        spawn.remove_idle_groups(self._hierarchies)
        names = [name for name in os.listdir(self._shims) if not name.endswith(shimdir.SOCKET_SUFFIX)]
        states = {name: self._read_state(name) for name in names if name not in containers}
        return [name for name, state in states.items() if state and state["container"] != name]


def _check_user_namespace(container_id: str, pid: int, process: Process) -> None:
    """Raise StartError if *process* has a mapped root and the container no user namespace, or the reverse."""
    try:
        namespace = os.stat(f"/proc/{pid}/ns/user").st_ino
    except FileNotFoundError:
        raise StartError(f"container {container_id[:12]} is not running") from None
    if (namespace != os.stat("/proc/self/ns/user").st_ino) != bool(process.root):
        raise StartError(f"container {container_id[:12]} is not in the user namespace of its record: restart it")


async def _send_prepare(channel: Channel, payload: bytes, network: asyncio.Future[str | None] | None) -> None:
    """Send PREPARE, and NETWORK as soon as *network* has a result.

    Raises the exception of *network* when the shim has undone everything.
    """
    await channel.send(frames.PREPARE, payload)
    if network is None:
        return
    try:
        path = await asyncio.shield(network)
    except BaseException:
        await channel.finish()
        raise
    with suppress(frames.ChannelError):  # a shim that has failed meanwhile has sent the reason
        await channel.send(frames.NETWORK, frames.pack_network(path))


async def _send_with(channel: Channel, payload: bytes, descriptor: int) -> None:
    channel.send_with(frames.EXEC, payload, (descriptor,))


def _record_lost(directory: int) -> ExitStatus:
    status = (255, shimdir.now(), False, _LOST)
    shimdir.write_exit(directory, status)
    return ExitStatus(*status)
