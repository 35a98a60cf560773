"""What people do to a running container: stop, kill, restart, pause, remove."""

from __future__ import annotations

import asyncio
import signal as signals_of_python
from contextlib import suppress

from netd.common.errors import BadRequest, Conflict, NotModified, Problem, ServerError
from runtime.engine.containers.container import Live
from runtime.engine.containers.containers import Fleet
from runtime.engine.containers.names import check_name
from runtime.engine.lifecycle.lifecycle import Lifecycle
from runtime.engine.lifecycle.remove import Remover
from runtime.engine.network.attachment import Network
from runtime.engine.options import signals
from runtime.shim_client.supervisor import Running, Supervisor

_KILL = int(signals_of_python.SIGKILL)
_TERM = int(signals_of_python.SIGTERM)
_POLITE_SECONDS = 10
_AFTER_KILL, _AFTER_KILL_ALL = 10.0, 2.0


class Control:
    def __init__(
        self, fleet: Fleet, supervisor: Supervisor, lifecycle: Lifecycle, remover: Remover, network: Network
    ) -> None:
        self._fleet = fleet
        self._supervisor = supervisor
        self._lifecycle = lifecycle
        self._remover = remover
        self._network = network

    async def stop(self, live: Live, *, signal: str = "", seconds: int | None = None) -> None:
        """Ask the program to end and, when it does not within *seconds* (-1: ever), make it.

        Raises NotModified when there is no process.
        """
        number = self._stop_signal(live, signal)
        if await self._lifecycle.give_up_restart(live):
            return
        if live.running is None:
            raise NotModified("not running")
        self._fleet.note(live, stopped=True)
        await self._end(live, number, self._patience(live, seconds))
        self._fleet.tell(live, "stop")

    def _stop_signal(self, live: Live, signal: str) -> int:
        return signals.number(signal or live.record.config.stop_signal or str(_TERM))

    def _patience(self, live: Live, seconds: int | None) -> float | None:
        configured = live.record.config.stop_timeout
        chosen = seconds if seconds is not None else configured if configured is not None else _POLITE_SECONDS
        return None if chosen < 0 else float(chosen)

    async def _end(self, live: Live, number: int, seconds: float | None) -> None:
        ended = live.ended.add()
        await self._signal(live, number)
        if live.record.state.status == "paused":
            await self._resume(live)
        if not await _within(ended, seconds):
            await self._kill_and_wait(live, ended)

    async def _kill_and_wait(self, live: Live, ended: asyncio.Future[int]) -> None:
        await self._signal(live, _KILL)
        if await _within(ended, _AFTER_KILL):
            return
        await self._supervisor.kill_all(live.id)
        if not await _within(ended, _AFTER_KILL_ALL):
            raise ServerError(
                f"container {live.record.name} was killed and has not ended: a process of it may be stuck in the kernel"
            )

    async def _signal(self, live: Live, number: int) -> None:
        if (running := live.running) is not None:
            with suppress(ProcessLookupError):
                await running.signal(number)
                self._fleet.tell(live, "kill", signal=str(number))

    async def kill(self, live: Live, signal: str) -> None:
        """Send a signal; after SIGKILL, return when the container has ended.

        A container that waits for its restart has no process: whatever the signal, it is not started again.
        """
        try:
            number = signals.number(signal or str(_KILL))
        except BadRequest as problem:
            raise BadRequest(f"cannot kill container: {live.record.name}: {problem.message}") from None
        if live.record.state.status == "restarting" and await self._lifecycle.give_up_restart(live):
            return
        self._running(live, f"cannot kill container: {live.record.name}: ")
        if number in (_KILL, self._stop_signal(live, "")):
            self._fleet.note(live, stopped=True)
        if number != _KILL:
            await self._signal(live, number)
            return
        ended = live.ended.add()
        if live.record.state.status == "paused":
            await self._resume(live)
        await self._kill_and_wait(live, ended)

    async def restart(self, live: Live, *, signal: str = "", seconds: int | None = None) -> None:
        """Stop the container if it runs, and start it."""
        number = self._stop_signal(live, signal)
        live.restarting_by_hand = True
        try:
            await self._lifecycle.give_up_restart(live)
            if live.running is not None:
                await self._end(live, number, self._patience(live, seconds))
        finally:
            live.restarting_by_hand = False
        with suppress(NotModified):
            await self._lifecycle.start(live)
        self._fleet.tell(live, "restart")

    async def pause(self, live: Live) -> None:
        async with live.lock:
            self._running(live)
            if live.record.state.status == "paused":
                raise Conflict(f"Container {live.id} is already paused")
            await self._supervisor.pause(live.id)
            self._fleet.note_state(live, status="paused")
        self._fleet.tell(live, "pause")

    async def unpause(self, live: Live) -> None:
        if live.record.state.status != "paused":
            raise ServerError(f"Container {live.id} is not paused")
        await self._resume(live)
        self._fleet.tell(live, "unpause")

    async def _resume(self, live: Live) -> None:
        async with live.lock:
            if live.record.state.status == "paused":
                await self._supervisor.resume(live.id)
                self._fleet.note_state(live, status="running")

    def _running(self, live: Live, prefix: str = "") -> Running:
        if not prefix:
            live.refuse_restarting()
        if live.running is None:
            raise Conflict(f"{prefix}container {live.id} is not running")
        return live.running

    async def remove(self, live: Live, *, force: bool = False, volumes: bool = False) -> None:
        """Remove the container; with *force* even one that runs."""
        if live.record.state.counts_as_running:
            if not force:
                paused = live.record.state.status == "paused"
                raise Conflict(
                    f'cannot remove container "{live.record.name}": container is {live.record.state.status}: '
                    + ("unpause and then stop" if paused else "stop")
                    + " the container before removing or force remove"
                )
            await self._force_down(live)
        async with live.lock:
            if self._fleet.get(live.id) is not live:
                return
            if live.running is not None:
                raise Conflict(f'cannot remove container "{live.record.name}": it was started again meanwhile')
            await self._remover.remove(live, volumes=volumes)

    async def _force_down(self, live: Live) -> None:
        if not await self._lifecycle.give_up_restart(live) and live.running is not None:
            await self.kill(live, "")

    async def rename(self, live: Live, name: str) -> None:
        """Give the container another name; others find it by the new one at once."""
        if not name:
            raise BadRequest("Neither old nor new names may be empty")
        name = check_name(name)
        old = live.record.name
        if name == old:
            raise BadRequest("Renaming a container with the same name as its current name")
        async with live.lock:
            await self._fleet.rename(live, name)
            try:
                await self._network.rename(live, name)
            except Problem:
                await self._fleet.rename(live, old)
                raise
        self._fleet.tell(live, "rename", oldName=f"/{old}")

    def wait(self, live: Live, condition: str) -> asyncio.Future[int]:
        """Return a future of the end that *condition* speaks of.  Raises BadRequest for unknown conditions."""
        if condition in ("", "not-running"):
            future = live.ended.add()
            if not live.record.state.counts_as_running:
                future.set_result(live.code)
            return future
        if condition == "next-exit":
            return live.ended.add()
        if condition == "removed":
            return live.removed.add()
        raise BadRequest(f'invalid condition: "{condition}"')


async def _within(ended: asyncio.Future[int], seconds: float | None) -> bool:
    done, _ = await asyncio.wait([ended], timeout=seconds)
    return bool(done)
