"""Starts containers without a request: by restart policy after an exit, and when the daemon starts.

A start that fails for a lack that can end (netd, a device, an address, a port, a container to join) is repeated with
the delays of the restart policy.  Meanwhile the container is in the state ``restarting``, and its error says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from netd.common.errors import BadRequest, Problem, Unavailable
from netd.common.tasks import Tasks
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.start import BindSourceMissing
from runtime.engine.network.attachment import DonorRemoved
from runtime.engine.options import restart_policy

_log = logging.getLogger(__name__)
_CONCURRENT = 16
"""How many containers are started at once without a request."""


@dataclass(frozen=True, slots=True)
class StartFailure:
    """Why a container was not started."""

    problem: Problem
    message: str
    code: int
    """The exit code to record."""
    cause: BaseException | None = None

    @property
    def may_end(self) -> bool:
        """Whether the same start can succeed later, without a change of the container."""
        if isinstance(self.problem, DonorRemoved):
            return False
        return not isinstance(self.problem, BadRequest) or isinstance(self.problem, BindSourceMissing)


class Restarts:
    def __init__(
        self,
        containers: Containers,
        start: Callable[[Container, int], Awaitable[StartFailure | None]],
        record_failure: Callable[[Container, StartFailure], Awaitable[None]],
        tasks: Tasks,
    ) -> None:
        """*start* gets the count of restarts; the lock is held during calls of *start* and *record_failure*."""
        self._containers = containers
        self._start = start
        self._record_failure = record_failure
        self._tasks = tasks
        self._slots = asyncio.Semaphore(_CONCURRENT)
        self._opened = asyncio.Event()
        self._first_attempts: dict[str, asyncio.Future[None]] = {}
        """By container id, the first start after that of the daemon; done when it has succeeded or failed."""
        self._failing: dict[str, Container] = {}
        """Containers whose latest start failed and will be repeated."""

    def schedule(self, container: Container, run_time: float) -> None:
        """Start the container after its delay; the caller holds the lock and has recorded the state ``restarting``.

        *run_time*: how long the program ran, in seconds.  Before :meth:`open`, the start waits for that.
        """
        container.restart_delay = restart_policy.next_delay(container.restart_delay, run_time)
        container.restart_now.clear()
        if not self._opened.is_set():
            self._first_attempts[container.id] = asyncio.get_running_loop().create_future()
        container.restart_task = self._tasks.start(self._run(container), f"restart {container.id[:12]}")

    async def open(self) -> None:
        """Begin with the starts, each after those of the containers that it depends on.

        Exited containers with policy ``always`` are started too, also those that were stopped on request.
        """
        for container in self._containers.all():
            async with container.lock:
                record = container.record
                if record.state.status == "exited" and record.host.restart_policy.name == "always":
                    self._containers.update_state_deferred(container, status="restarting")
                    self.schedule(container, 0.0)
        self._opened.set()

    def wake(self) -> None:
        """Repeat all failed starts now, because netd answers again."""
        for container in self._failing.values():
            container.restart_now.set()

    def wake_dependents(self, started: Container) -> None:
        """Repeat the failed starts of containers that depend on *started* now."""
        for container in self._failing.values():
            if started in self._dependencies(container):
                container.restart_now.set()

    async def _run(self, container: Container) -> None:
        try:
            await self._opened.wait()
            dependencies = [self._first_attempts.get(other.id) for other in self._dependencies(container)]
            if pending := [future for future in dependencies if future is not None]:
                await asyncio.wait(pending)
            while not await self._attempt(container):
                pass
        finally:
            self._failing.pop(container.id, None)
            self._complete_first_attempt(container)

    def _complete_first_attempt(self, container: Container) -> None:
        future = self._first_attempts.pop(container.id, None)
        if future is not None and not future.done():
            future.set_result(None)

    async def _attempt(self, container: Container) -> bool:
        """Start the container after its delay; return False if it has to be tried again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(container.restart_delay):
                await container.restart_now.wait()
        async with self._slots, container.lock:
            container.restart_now.clear()
            before = container.record.state
            if container.removed or before.status != "restarting":
                return True
            # Cancelling a restart cancels this task, which must not interrupt a start.
            task, container.restart_task = container.restart_task, None
            failure = await self._start(container, container.record.restarts + 1)
            if failure is None or not failure.may_end:
                await self._finish(container, failure)
                return True
            container.restart_task = task
            self._record_retry(container, failure)
            return False

    async def _finish(self, container: Container, failure: StartFailure | None) -> None:
        if failure is not None:
            _log.warning("restart failed: container=%s error=%s", container.id[:12], failure.message)
            await self._record_failure(container, failure)
        elif container.id in self._failing:
            _log.info("container started after failed attempts: container=%s", container.id[:12])

    def _record_retry(self, container: Container, failure: StartFailure) -> None:
        """Record the reason, and log it if it differs from that of the attempt before."""
        if container.id not in self._failing or container.record.state.error != failure.message:
            _log.warning("restart failed, will be retried: container=%s error=%s", container.id[:12], failure.message)
        self._failing[container.id] = container
        container.restart_delay = restart_policy.next_delay(container.restart_delay, 0.0)
        state = msgspec.structs.replace(container.record.state, status="restarting", error=failure.message)
        self._containers.update_deferred(container, state=state)
        if not isinstance(failure.problem, Unavailable):
            # While netd is away, dependents wait too: they could start before this container when netd is back.
            self._complete_first_attempt(container)

    def _dependencies(self, container: Container) -> list[Container]:
        """Return the containers that the container joins, links to or takes volumes from.

        Only earlier containers are returned, so that no two containers wait for each other.
        """
        own = (container.record.created, container.id)
        found = []
        for name in restart_policy.dependencies(container.record.host):
            with suppress(Problem):
                other = self._containers.find(name)
                if (other.record.created, other.id) < own:
                    found.append(other)
        return found
