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
from netd.common.ids import ZERO_TIME
from netd.common.tasks import Tasks
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.health import HealthChecks
from runtime.engine.lifecycle.remove import Remover
from runtime.engine.lifecycle.start import Starter, as_problem
from runtime.engine.network.attachment import NetworkAttachments, SandboxAttachment
from runtime.engine.options import networking, restart_policy
from runtime.engine.views.status import seconds_since
from runtime.record import State, Status
from runtime.shim_client.supervisor import Running, Supervisor
from runtime.spec import ExitStatus, StartError

_log = logging.getLogger(__name__)
_DAEMONS_FAULT = 128


class Lifecycle:
    def __init__(
        self,
        containers: Containers,
        supervisor: Supervisor,
        network: NetworkAttachments,
        launcher: Starter,
        remover: Remover,
        health: HealthChecks,
        tasks: Tasks,
    ) -> None:
        self._tasks = tasks
        self._containers = containers
        self._supervisor = supervisor
        self._network = network
        self._launcher = launcher
        self._remover = remover
        self._health = health

    async def start(self, container: Container) -> None:
        """Start the container.  Raises NotModified when it runs, Problems in Docker's words when it cannot be."""
        async with container.lock:
            state = container.record.state
            if state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if state.status == "removing":
                raise Conflict("container is marked for removal and cannot be started")
            if container.running is not None or state.status == "restarting":
                raise NotModified("already running")
            container.delay = 0.0
            await self._launch(container, restarts=0)

    async def _launch(self, container: Container, restarts: int) -> None:
        try:
            running, joined = await self._launcher.launch(container)
        except StartError as error:
            await self._failed(container, error.message, error.code)
            raise as_problem(error) from None
        except Problem as problem:
            await self._failed(container, problem.message, _DAEMONS_FAULT)
            raise
        except Exception as error:
            what = f"cannot start container {container.record.name}"
            told = resource_errors.problem(error, what) or ServerError(f"{what}: {error or type(error).__name__}")
            await self._failed(container, told.message, _DAEMONS_FAULT)
            raise told from error
        await self._is_up(container, running, joined, restarts)

    async def _is_up(self, container: Container, running: Running, joined: SandboxAttachment, restarts: int) -> None:
        container.running, container.netns, container.hosts = running, joined.netns, joined.hosts
        endpoints = container.record.endpoints
        if joined.settings is not None:
            endpoints = networking.resolved(endpoints, joined.settings.networks)
        state = State(status="running", pid=running.pid, started_at=running.started)
        self._containers.note(
            container, state=state, network=joined.settings, endpoints=endpoints, stopped=False, restarts=restarts
        )
        self._containers.tell(container, "start")
        self.watch(container, running)
        await container.connect_viewers(running)

    async def _failed(self, container: Container, message: str, code: int) -> None:
        """Record why there is no process; a restart policy does not try again."""
        was = container.record.state
        status = "created" if was.started_at == ZERO_TIME else "exited"
        state = msgspec.structs.replace(was, status=status, pid=0, error=message, exit_code=code)
        self._containers.note(container, state=state)
        container.ended.wake(container.code)
        if container.record.host.auto_remove:
            await self.remove_ended(container)

    # The end of a process

    def watch(self, container: Container, running: Running) -> None:
        """Check the health of *running*, clear away when it has ended, and follow the restart policy."""
        self._tasks.loop(partial(self._health.run, container, running), f"health {container.id[:12]}")
        self._tasks.loop(partial(self._watch, container, running), f"watch {container.id[:12]}")

    async def _watch(self, container: Container, running: Running) -> None:
        status = await running.wait()
        async with container.lock:
            if container.running is running:
                await self.has_ended(container, status)

    async def has_ended(self, container: Container, status: ExitStatus, *, found: bool = False) -> None:
        """Tell everyone that a process ended, then clear away after it; the caller holds the lock.

        *found*: it ended while this daemon was not there to see.
        """
        lasted = _span(container.record.state.started_at, status.finished)
        again = self._is_wanted_again(container, status.code, found)
        over = container.record.host.auto_remove and not container.restarting_by_hand
        leaving = self._network.leave(container)
        await self._record_end(container, status, "restarting" if again else "exited", lasted)
        await asyncio.gather(leaving, self._discard(container))
        if again:
            container.delay = restart_policy.next_delay(container.delay, lasted)
            container.restart = self._tasks.start(self._restart_later(container), f"restart {container.id[:12]}")
        elif over:
            await self.remove_ended(container)

    async def remove_ended(self, container: Container) -> None:
        """Remove a container of ``--rm``; the caller holds the lock.  A removal that fails is tried again."""
        try:
            await self._remover.remove(container, volumes=True)
        except Exception as error:
            _log.warning("removal failed and is tried again: container=%s error=%s", container.id[:12], error)
            self._tasks.loop(partial(self._remove_later, container), f"remove {container.id[:12]}")

    async def _remove_later(self, container: Container) -> None:
        async with container.lock:
            if self._containers.get(container.id) is container and container.running is None:
                await self._remover.remove(container, volumes=True)

    async def _discard(self, container: Container) -> None:
        try:
            await self._supervisor.discard(container.id)
        except OSError as error:
            _log.warning("remains of the process stay for now: container=%s error=%s", container.id[:12], error)
            self._tasks.loop(partial(self._discard_later, container), f"discard {container.id[:12]}")

    async def _discard_later(self, container: Container) -> None:
        async with container.lock:
            if container.running is None:
                await self._supervisor.discard(container.id)

    def _is_wanted_again(self, container: Container, code: int, found: bool) -> bool:
        record = container.record
        wants = restart_policy.wants_start if found else restart_policy.wants_restart
        facts = {"code": code, "restarts": record.restarts}
        return not container.restarting_by_hand and wants(record.host.restart_policy, stopped=record.stopped, **facts)

    async def _record_end(self, container: Container, status: ExitStatus, name: Status, lasted: float) -> None:
        container.running = container.netns = None
        state = State(
            status=name,
            exit_code=status.code,
            error=status.error,
            oom_killed=status.oom_killed,
            started_at=container.record.state.started_at,
            finished_at=status.finished,
        )
        self._containers.note(container, state=state, network=None)
        if status.oom_killed:
            self._containers.tell(container, "oom")
        self._containers.tell(container, "die", exitCode=str(status.code), execDuration=str(int(lasted)))
        container.ended.wake(status.code)

    async def _restart_later(self, container: Container) -> None:
        while True:
            await asyncio.sleep(container.delay)
            async with container.lock:
                if container.record.state.status != "restarting":
                    container.restart = None
                    return
                before = container.record.state
                # Calling a restart off cancels this task, which must not happen to a launch.
                trying, container.restart = container.restart, None
                try:
                    await self._launch(container, container.record.restarts + 1)
                    return
                except Problem as problem:
                    _log.warning("restart failed: container=%s error=%s", container.id[:12], problem.message)
                    if not resource_errors.is_shortage(problem) or self._containers.get(container.id) is not container:
                        return
                # Nothing is wrong with the container: it is tried again until there is room for it.
                container.restart, container.delay = trying, restart_policy.next_delay(container.delay, 0.0)
                self._containers.note(
                    container, state=msgspec.structs.replace(before, error=container.record.state.error)
                )

    def _call_off_restart(self, container: Container) -> bool:
        if container.restart is None:
            return False
        container.restart.cancel()
        container.restart = None
        return True

    async def give_up_restart(self, container: Container) -> bool:
        """Leave a container ended that waits for its restart; False when it does not."""
        async with container.lock:
            if container.record.state.status != "restarting":
                return False
            self._call_off_restart(container)
            state = msgspec.structs.replace(container.record.state, status="exited")
            self._containers.note(container, state=state, stopped=True)
            container.ended.wake(container.code)
            return True


def _span(started: str, finished: str) -> float:
    if started == ZERO_TIME:
        return 0.0
    return max(seconds_since(started, datetime.now(UTC)) - seconds_since(finished, datetime.now(UTC)), 0.0)
