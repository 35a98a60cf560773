"""Requests on existing containers: stop, kill, restart, pause, rename, remove, wait."""

from __future__ import annotations

import asyncio
import signal as os_signal
from contextlib import suppress

from netd.common.errors import BadRequest, Conflict, NotModified, Problem, ServerError
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.containers.names import check_name
from runtime.engine.lifecycle.lifecycle import Lifecycle
from runtime.engine.lifecycle.remove import ContainerRemoval
from runtime.engine.network.attachment import NetworkAttachments
from runtime.engine.options import signals
from runtime.shim_client.supervisor import Running, Supervisor

_KILL = int(os_signal.SIGKILL)
_TERM = int(os_signal.SIGTERM)
_STOP_TIMEOUT = 10
"""Docker's default, in seconds."""
_KILL_TIMEOUT, _KILL_ALL_TIMEOUT = 10.0, 2.0
"""Seconds to wait for the exit after SIGKILL to the first process, and after SIGKILL to all processes."""


class Control:
    def __init__(
        self,
        containers: Containers,
        supervisor: Supervisor,
        lifecycle: Lifecycle,
        removal: ContainerRemoval,
        network: NetworkAttachments,
    ) -> None:
        self._containers = containers
        self._supervisor = supervisor
        self._lifecycle = lifecycle
        self._removal = removal
        self._network = network

    async def stop(self, container: Container, *, signal: str = "", seconds: int | None = None) -> None:
        """Send the stop signal, and SIGKILL if the process has not exited after *seconds* (-1: no limit).

        Without *seconds*, the timeout of the container applies.  If the container waits for its restart, only
        the restart is cancelled.  Raises NotModified if the container has no process.
        """
        number = self._stop_signal(container, signal)
        if await self._lifecycle.cancel_restart(container):
            return
        if container.running is None:
            raise NotModified("not running")
        self._containers.update_deferred(container, stopped=True)
        await self._stop(container, number, self._timeout(container, seconds))
        self._containers.publish_event(container, "stop")

    def _stop_signal(self, container: Container, signal: str) -> int:
        return signals.number(signal or container.record.config.stop_signal or str(_TERM))

    def _timeout(self, container: Container, seconds: int | None) -> float | None:
        configured = container.record.config.stop_timeout
        chosen = seconds if seconds is not None else configured if configured is not None else _STOP_TIMEOUT
        return None if chosen < 0 else float(chosen)

    async def _stop(self, container: Container, number: int, seconds: float | None) -> None:
        exited = container.exit_waiters.add()
        await self._signal(container, number)
        if container.record.state.status == "paused":
            await self._resume(container)
        if not await _within(exited, seconds):
            await self._kill_and_wait(container, exited)

    async def _kill_and_wait(self, container: Container, exited: asyncio.Future[int]) -> None:
        await self._signal(container, _KILL)
        if await _within(exited, _KILL_TIMEOUT):
            return
        await self._supervisor.kill_all(container.id)
        if not await _within(exited, _KILL_ALL_TIMEOUT):
            raise ServerError(
                f"container {container.record.name} was killed but has not exited:"
                " one of its processes may be blocked in the kernel"
            )

    async def _signal(self, container: Container, number: int) -> None:
        if (running := container.running) is not None:
            with suppress(ProcessLookupError):
                await running.signal(number)
                self._containers.publish_event(container, "kill", signal=str(number))

    async def kill(self, container: Container, signal: str) -> None:
        """Send a signal; with SIGKILL, return after the container has exited.

        If the container waits for its restart, any signal cancels the restart.
        """
        try:
            number = signals.number(signal or str(_KILL))
        except BadRequest as problem:
            raise BadRequest(f"cannot kill container: {container.record.name}: {problem.message}") from None
        if container.record.state.status == "restarting" and await self._lifecycle.cancel_restart(container):
            return
        self._require_running(container, f"cannot kill container: {container.record.name}: ")
        if number in (_KILL, self._stop_signal(container, "")):
            self._containers.update_deferred(container, stopped=True)
        if number != _KILL:
            await self._signal(container, number)
            return
        exited = container.exit_waiters.add()
        if container.record.state.status == "paused":
            await self._resume(container)
        await self._kill_and_wait(container, exited)

    async def restart(self, container: Container, *, signal: str = "", seconds: int | None = None) -> None:
        """Stop the container if it runs, then start it."""
        number = self._stop_signal(container, signal)
        container.manual_restart = True
        try:
            await self._lifecycle.cancel_restart(container)
            if container.running is not None:
                await self._stop(container, number, self._timeout(container, seconds))
        finally:
            container.manual_restart = False
        with suppress(NotModified):
            await self._lifecycle.start(container)
        self._containers.publish_event(container, "restart")

    async def pause(self, container: Container) -> None:
        async with container.lock:
            self._require_running(container)
            if container.record.state.status == "paused":
                raise Conflict(f"Container {container.id} is already paused")
            await self._supervisor.pause(container.id)
            self._containers.update_state_deferred(container, status="paused")
        self._containers.publish_event(container, "pause")

    async def unpause(self, container: Container) -> None:
        if container.record.state.status != "paused":
            raise ServerError(f"Container {container.id} is not paused")
        await self._resume(container)
        self._containers.publish_event(container, "unpause")

    async def _resume(self, container: Container) -> None:
        async with container.lock:
            if container.record.state.status == "paused":
                await self._supervisor.resume(container.id)
                self._containers.update_state_deferred(container, status="running")

    def _require_running(self, container: Container, prefix: str = "") -> Running:
        if not prefix:
            container.check_not_restarting()
        if container.running is None:
            raise Conflict(f"{prefix}container {container.id} is not running")
        return container.running

    async def remove(self, container: Container, *, force: bool = False, volumes: bool = False) -> None:
        """Remove the container; with *force*, kill it first if it runs."""
        if container.record.state.counts_as_running:
            if not force:
                paused = container.record.state.status == "paused"
                raise Conflict(
                    f'cannot remove container "{container.record.name}": container is {container.record.state.status}: '
                    + ("unpause and then stop" if paused else "stop")
                    + " the container before removing or force remove"
                )
            await self._kill_for_removal(container)
        async with container.lock:
            if self._containers.get(container.id) is not container:
                return
            if container.running is not None:
                raise Conflict(f'cannot remove container "{container.record.name}": it has been started again')
            await self._removal.remove(container, volumes=volumes)

    async def _kill_for_removal(self, container: Container) -> None:
        if not await self._lifecycle.cancel_restart(container) and container.running is not None:
            await self.kill(container, "")

    async def rename(self, container: Container, name: str) -> None:
        """Rename the container, in the record and in DNS."""
        if not name:
            raise BadRequest("Neither old nor new names may be empty")
        name = check_name(name)
        old = container.record.name
        if name == old:
            raise BadRequest("Renaming a container with the same name as its current name")
        async with container.lock:
            await self._containers.rename(container, name)
            try:
                await self._network.rename(container, name)
            except Problem:
                await self._containers.rename(container, old)
                raise
        self._containers.publish_event(container, "rename", oldName=f"/{old}")

    def wait(self, container: Container, condition: str) -> asyncio.Future[int]:
        """Return a future with the exit code, set on *condition* as in Docker.  Raises BadRequest if it is unknown."""
        if condition in ("", "not-running"):
            future = container.exit_waiters.add()
            if not container.record.state.counts_as_running:
                future.set_result(container.exit_code)
            return future
        if condition == "next-exit":
            return container.exit_waiters.add()
        if condition == "removed":
            return container.removal_waiters.add()
        raise BadRequest(f'invalid condition: "{condition}"')


async def _within(exited: asyncio.Future[int], seconds: float | None) -> bool:
    done, _ = await asyncio.wait([exited], timeout=seconds)
    return bool(done)
