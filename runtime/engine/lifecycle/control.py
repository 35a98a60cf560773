"""What people do to a running container: stop, kill, restart, pause, remove."""

from __future__ import annotations

import asyncio
import signal as signals_of_python
from contextlib import suppress

from netd.common.errors import BadRequest, Conflict, NotModified, Problem, ServerError
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.containers.names import check_name
from runtime.engine.lifecycle.lifecycle import Lifecycle
from runtime.engine.lifecycle.remove import Remover
from runtime.engine.network.attachment import NetworkAttachments
from runtime.engine.options import signals
from runtime.shim_client.supervisor import Running, Supervisor

_KILL = int(signals_of_python.SIGKILL)
_TERM = int(signals_of_python.SIGTERM)
_POLITE_SECONDS = 10
_AFTER_KILL, _AFTER_KILL_ALL = 10.0, 2.0


class Control:
    def __init__(
        self,
        containers: Containers,
        supervisor: Supervisor,
        lifecycle: Lifecycle,
        remover: Remover,
        network: NetworkAttachments,
    ) -> None:
        self._containers = containers
        self._supervisor = supervisor
        self._lifecycle = lifecycle
        self._remover = remover
        self._network = network

    async def stop(self, container: Container, *, signal: str = "", seconds: int | None = None) -> None:
        """Ask the program to end and, when it does not within *seconds* (-1: ever), make it.

        Raises NotModified when there is no process.
        """
        number = self._stop_signal(container, signal)
        if await self._lifecycle.give_up_restart(container):
            return
        if container.running is None:
            raise NotModified("not running")
        self._containers.note(container, stopped=True)
        await self._end(container, number, self._patience(container, seconds))
        self._containers.tell(container, "stop")

    def _stop_signal(self, container: Container, signal: str) -> int:
        return signals.number(signal or container.record.config.stop_signal or str(_TERM))

    def _patience(self, container: Container, seconds: int | None) -> float | None:
        configured = container.record.config.stop_timeout
        chosen = seconds if seconds is not None else configured if configured is not None else _POLITE_SECONDS
        return None if chosen < 0 else float(chosen)

    async def _end(self, container: Container, number: int, seconds: float | None) -> None:
        ended = container.ended.add()
        await self._signal(container, number)
        if container.record.state.status == "paused":
            await self._resume(container)
        if not await _within(ended, seconds):
            await self._kill_and_wait(container, ended)

    async def _kill_and_wait(self, container: Container, ended: asyncio.Future[int]) -> None:
        await self._signal(container, _KILL)
        if await _within(ended, _AFTER_KILL):
            return
        await self._supervisor.kill_all(container.id)
        if not await _within(ended, _AFTER_KILL_ALL):
            raise ServerError(
                f"container {container.record.name} was killed and has not ended:"
                " a process of it may be stuck in the kernel"
            )

    async def _signal(self, container: Container, number: int) -> None:
        if (running := container.running) is not None:
            with suppress(ProcessLookupError):
                await running.signal(number)
                self._containers.tell(container, "kill", signal=str(number))

    async def kill(self, container: Container, signal: str) -> None:
        """Send a signal; after SIGKILL, return when the container has ended.

        A container that waits for its restart has no process: whatever the signal, it is not started again.
        """
        try:
            number = signals.number(signal or str(_KILL))
        except BadRequest as problem:
            raise BadRequest(f"cannot kill container: {container.record.name}: {problem.message}") from None
        if container.record.state.status == "restarting" and await self._lifecycle.give_up_restart(container):
            return
        self._running(container, f"cannot kill container: {container.record.name}: ")
        if number in (_KILL, self._stop_signal(container, "")):
            self._containers.note(container, stopped=True)
        if number != _KILL:
            await self._signal(container, number)
            return
        ended = container.ended.add()
        if container.record.state.status == "paused":
            await self._resume(container)
        await self._kill_and_wait(container, ended)

    async def restart(self, container: Container, *, signal: str = "", seconds: int | None = None) -> None:
        """Stop the container if it runs, and start it."""
        number = self._stop_signal(container, signal)
        container.restarting_by_hand = True
        try:
            await self._lifecycle.give_up_restart(container)
            if container.running is not None:
                await self._end(container, number, self._patience(container, seconds))
        finally:
            container.restarting_by_hand = False
        with suppress(NotModified):
            await self._lifecycle.start(container)
        self._containers.tell(container, "restart")

    async def pause(self, container: Container) -> None:
        async with container.lock:
            self._running(container)
            if container.record.state.status == "paused":
                raise Conflict(f"Container {container.id} is already paused")
            await self._supervisor.pause(container.id)
            self._containers.note_state(container, status="paused")
        self._containers.tell(container, "pause")

    async def unpause(self, container: Container) -> None:
        if container.record.state.status != "paused":
            raise ServerError(f"Container {container.id} is not paused")
        await self._resume(container)
        self._containers.tell(container, "unpause")

    async def _resume(self, container: Container) -> None:
        async with container.lock:
            if container.record.state.status == "paused":
                await self._supervisor.resume(container.id)
                self._containers.note_state(container, status="running")

    def _running(self, container: Container, prefix: str = "") -> Running:
        if not prefix:
            container.refuse_restarting()
        if container.running is None:
            raise Conflict(f"{prefix}container {container.id} is not running")
        return container.running

    async def remove(self, container: Container, *, force: bool = False, volumes: bool = False) -> None:
        """Remove the container; with *force* even one that runs."""
        if container.record.state.counts_as_running:
            if not force:
                paused = container.record.state.status == "paused"
                raise Conflict(
                    f'cannot remove container "{container.record.name}": container is {container.record.state.status}: '
                    + ("unpause and then stop" if paused else "stop")
                    + " the container before removing or force remove"
                )
            await self._force_down(container)
        async with container.lock:
            if self._containers.get(container.id) is not container:
                return
            if container.running is not None:
                raise Conflict(f'cannot remove container "{container.record.name}": it was started again meanwhile')
            await self._remover.remove(container, volumes=volumes)

    async def _force_down(self, container: Container) -> None:
        if not await self._lifecycle.give_up_restart(container) and container.running is not None:
            await self.kill(container, "")

    async def rename(self, container: Container, name: str) -> None:
        """Give the container another name; others find it by the new one at once."""
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
        self._containers.tell(container, "rename", oldName=f"/{old}")

    def wait(self, container: Container, condition: str) -> asyncio.Future[int]:
        """Return a future of the end that *condition* speaks of.  Raises BadRequest for unknown conditions."""
        if condition in ("", "not-running"):
            future = container.ended.add()
            if not container.record.state.counts_as_running:
                future.set_result(container.code)
            return future
        if condition == "next-exit":
            return container.ended.add()
        if condition == "removed":
            return container.removed.add()
        raise BadRequest(f'invalid condition: "{condition}"')


async def _within(ended: asyncio.Future[int], seconds: float | None) -> bool:
    done, _ = await asyncio.wait([ended], timeout=seconds)
    return bool(done)
