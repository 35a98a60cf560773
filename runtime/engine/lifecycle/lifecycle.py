"""Starts, ends and restarts containers.

The one place where a container's process comes and goes.  Each container's ``lock`` is held while its process is
being made or cleared away, never while waiting for a program to do something.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from functools import partial

import msgspec

from netd.common import resource_errors
from netd.common.errors import Conflict, NotModified, Problem, ServerError
from netd.common.tasks import Tasks
from runtime.engine.containers.container import Live
from runtime.engine.containers.containers import Fleet
from runtime.engine.lifecycle.health import HealthChecks
from runtime.engine.lifecycle.remove import Remover
from runtime.engine.lifecycle.start import Launcher, as_problem
from runtime.engine.network.attachment import Joined, Network
from runtime.engine.options import networking, restart_policy
from runtime.engine.views.status import seconds_since
from runtime.record import ZERO_TIME, State, Status
from runtime.shim_client.supervisor import Running, Supervisor
from runtime.spec import ExitStatus, StartError

_log = logging.getLogger(__name__)
_DAEMONS_FAULT = 128


class Lifecycle:
    def __init__(
        self,
        fleet: Fleet,
        supervisor: Supervisor,
        network: Network,
        launcher: Launcher,
        remover: Remover,
        health: HealthChecks,
        tasks: Tasks,
    ) -> None:
        self._tasks = tasks
        self._fleet = fleet
        self._supervisor = supervisor
        self._network = network
        self._launcher = launcher
        self._remover = remover
        self._health = health

    async def start(self, live: Live) -> None:
        """Start the container.  Raises NotModified when it runs, Problems in Docker's words when it cannot be."""
        async with live.lock:
            state = live.record.state
            if state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if state.status == "removing":
                raise Conflict("container is marked for removal and cannot be started")
            if live.running is not None or state.status == "restarting":
                raise NotModified("already running")
            live.delay = 0.0
            await self._launch(live, restarts=0)

    async def _launch(self, live: Live, restarts: int) -> None:
        try:
            running, joined = await self._launcher.launch(live)
        except StartError as error:
            await self._failed(live, error.message, error.code)
            raise as_problem(error) from None
        except Problem as problem:
            await self._failed(live, problem.message, _DAEMONS_FAULT)
            raise
        except Exception as error:
            what = f"cannot start container {live.record.name}"
            told = resource_errors.problem(error, what) or ServerError(f"{what}: {error or type(error).__name__}")
            await self._failed(live, told.message, _DAEMONS_FAULT)
            raise told from error
        await self._is_up(live, running, joined, restarts)

    async def _is_up(self, live: Live, running: Running, joined: Joined, restarts: int) -> None:
        live.running, live.netns, live.hosts = running, joined.netns, joined.hosts
        endpoints = live.record.endpoints
        if joined.settings is not None:
            endpoints = networking.resolved(endpoints, joined.settings.networks)
        state = State(status="running", pid=running.pid, started_at=running.started)
        self._fleet.note(
            live, state=state, network=joined.settings, endpoints=endpoints, stopped=False, restarts=restarts
        )
        self._fleet.tell(live, "start")
        self.watch(live, running)
        await live.connect_viewers(running)

    async def _failed(self, live: Live, message: str, code: int) -> None:
        """Record why there is no process; a restart policy does not try again."""
        was = live.record.state
        status = "created" if was.started_at == ZERO_TIME else "exited"
        state = msgspec.structs.replace(was, status=status, pid=0, error=message, exit_code=code)
        self._fleet.note(live, state=state)
        live.ended.wake(live.code)
        if live.record.host.auto_remove:
            await self.remove_ended(live)

    # The end of a process

    def watch(self, live: Live, running: Running) -> None:
        """Check the health of *running*, clear away when it has ended, and follow the restart policy."""
        self._tasks.loop(partial(self._health.run, live, running), f"health {live.id[:12]}")
        self._tasks.loop(partial(self._watch, live, running), f"watch {live.id[:12]}")

    async def _watch(self, live: Live, running: Running) -> None:
        status = await running.wait()
        async with live.lock:
            if live.running is running:
                await self.has_ended(live, status)

    async def has_ended(self, live: Live, status: ExitStatus, *, found: bool = False) -> None:
        """Tell everyone that a process ended, then clear away after it; the caller holds the lock.

        *found*: it ended while this daemon was not there to see.
        """
        lasted = _span(live.record.state.started_at, status.finished)
        again = self._is_wanted_again(live, status.code, found)
        over = live.record.host.auto_remove and not live.restarting_by_hand
        leaving = self._network.leave(live)
        await self._record_end(live, status, "restarting" if again else "exited", lasted)
        await asyncio.gather(leaving, self._discard(live))
        if again:
            live.delay = restart_policy.next_delay(live.delay, lasted)
            live.restart = self._tasks.start(self._restart_later(live), f"restart {live.id[:12]}")
        elif over:
            await self.remove_ended(live)

    async def remove_ended(self, live: Live) -> None:
        """Remove a container of ``--rm``; the caller holds the lock.  A removal that fails is tried again."""
        try:
            await self._remover.remove(live, volumes=True)
        except Exception as error:
            _log.warning("removal failed and is tried again: container=%s error=%s", live.id[:12], error)
            self._tasks.loop(partial(self._remove_later, live), f"remove {live.id[:12]}")

    async def _remove_later(self, live: Live) -> None:
        async with live.lock:
            if self._fleet.get(live.id) is live and live.running is None:
                await self._remover.remove(live, volumes=True)

    async def _discard(self, live: Live) -> None:
        try:
            await self._supervisor.discard(live.id)
        except OSError as error:
            _log.warning("remains of the process stay for now: container=%s error=%s", live.id[:12], error)
            self._tasks.loop(partial(self._discard_later, live), f"discard {live.id[:12]}")

    async def _discard_later(self, live: Live) -> None:
        async with live.lock:
            if live.running is None:
                await self._supervisor.discard(live.id)

    def _is_wanted_again(self, live: Live, code: int, found: bool) -> bool:
        record = live.record
        wants = restart_policy.wants_start if found else restart_policy.wants_restart
        facts = {"code": code, "restarts": record.restarts}
        return not live.restarting_by_hand and wants(record.host.restart_policy, stopped=record.stopped, **facts)

    async def _record_end(self, live: Live, status: ExitStatus, name: Status, lasted: float) -> None:
        live.running = live.netns = None
        state = State(
            status=name,
            exit_code=status.code,
            error=status.error,
            oom_killed=status.oom_killed,
            started_at=live.record.state.started_at,
            finished_at=status.finished,
        )
        self._fleet.note(live, state=state, network=None)
        if status.oom_killed:
            self._fleet.tell(live, "oom")
        self._fleet.tell(live, "die", exitCode=str(status.code), execDuration=str(int(lasted)))
        live.ended.wake(status.code)

    async def _restart_later(self, live: Live) -> None:
        while True:
            await asyncio.sleep(live.delay)
            async with live.lock:
                if live.record.state.status != "restarting":
                    live.restart = None
                    return
                before = live.record.state
                # Calling a restart off cancels this task, which must not happen to a launch.
                trying, live.restart = live.restart, None
                try:
                    await self._launch(live, live.record.restarts + 1)
                    return
                except Problem as problem:
                    _log.warning("restart failed: container=%s error=%s", live.id[:12], problem.message)
                    if not resource_errors.is_shortage(problem) or self._fleet.get(live.id) is not live:
                        return
                # Nothing is wrong with the container: it is tried again until there is room for it.
                live.restart, live.delay = trying, restart_policy.next_delay(live.delay, 0.0)
                self._fleet.note(live, state=msgspec.structs.replace(before, error=live.record.state.error))

    def _call_off_restart(self, live: Live) -> bool:
        if live.restart is None:
            return False
        live.restart.cancel()
        live.restart = None
        return True

    async def give_up_restart(self, live: Live) -> bool:
        """Leave a container ended that waits for its restart; False when it does not."""
        async with live.lock:
            if live.record.state.status != "restarting":
                return False
            self._call_off_restart(live)
            state = msgspec.structs.replace(live.record.state, status="exited")
            self._fleet.note(live, state=state, stopped=True)
            live.ended.wake(live.code)
            return True


def _span(started: str, finished: str) -> float:
    if started == ZERO_TIME:
        return 0.0
    return max(seconds_since(started, datetime.now(UTC)) - seconds_since(finished, datetime.now(UTC)), 0.0)
