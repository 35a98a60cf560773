"""Starts containers, handles their exits, and restarts them by policy.

Each container's ``lock`` is held during a start and during the cleanup after an exit, never while waiting for a
program.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
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
from runtime.engine.lifecycle.remove import ContainerRemoval
from runtime.engine.lifecycle.restarts import Restarts, StartFailure
from runtime.engine.lifecycle.start import Starter, start_problem
from runtime.engine.network.attachment import NetworkAttachments, SandboxAttachment
from runtime.engine.network.offline_sandboxes import OfflineSandboxes
from runtime.engine.options import networking, restart_policy
from runtime.engine.views.status import seconds_since
from runtime.kernel import proc
from runtime.record import State, Status
from runtime.shim_client.supervisor import Running, Supervisor
from runtime.spec import ExitStatus, StartError

_log = logging.getLogger(__name__)
_DAEMON_ERROR = 128
"""The exit code of a container that could not be started because of an error of the daemon, as in Docker."""


_SHIM_SECONDS = 3.0
"""How long other operations on a container wait for the status of its ended process, whose shim has most likely to read
the rest of the output for two seconds."""
_LEAVE_SECONDS = 2.0
"""How long the record of an exit waits for the deletion of the sandbox, whose events come first, as in Docker."""


class Lifecycle:
    def __init__(
        self,
        containers: Containers,
        supervisor: Supervisor,
        network: NetworkAttachments,
        offline: OfflineSandboxes,
        starter: Starter,
        removal: ContainerRemoval,
        health: HealthChecks,
        tasks: Tasks,
    ) -> None:
        self._tasks = tasks
        self._containers = containers
        self._supervisor = supervisor
        self._network = network
        self._starter = starter
        self._offline = offline
        self._removal = removal
        self._health = health
        self.restarts = Restarts(containers, self._start, self._record_start_failure, tasks)

    async def start(self, container: Container, *, restarting: bool = False) -> None:
        """Start the container.  Raises NotModified if it runs, and Problems with Docker's messages.

        A container that waits for its restart is restarted without further delay.  *restarting*: see ``hold``.
        """
        async with container.hold(restarting=restarting):
            state = container.record.state
            if state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if state.status == "restarting":
                container.restart_now.set()
            if container.running is not None or state.status == "restarting":
                raise NotModified("already running")
            container.restart_delay = 0.0
            if (failure := await self._start(container, restarts=0)) is not None:
                await self._record_start_failure(container, failure)
                raise failure.problem from failure.cause

    async def _start(self, container: Container, restarts: int) -> StartFailure | None:
        """Start the container and record that, or return why it could not be started; the caller holds the lock."""
        try:
            running, attachment = await self._starter.start(container)
        except StartError as error:
            return StartFailure(start_problem(error), error.message, error.code)
        except Problem as problem:
            return StartFailure(problem, problem.message, _DAEMON_ERROR, problem)
        except Exception as error:
            what = f"cannot start container {container.record.name}"
            failure = resource_errors.problem(error, what) or ServerError(f"{what}: {error or type(error).__name__}")
            return StartFailure(failure, failure.message, _DAEMON_ERROR, error)
        await self._record_start(container, running, attachment, restarts)
        return None

    async def _record_start(
        self, container: Container, running: Running, attachment: SandboxAttachment, restarts: int
    ) -> None:
        container.running, container.netns, container.hosts = running, attachment.netns, attachment.hosts
        if attachment.netns is not None and attachment.offline:
            container.netns = proc.namespace_path(running.pid, "net")
        endpoints = container.record.endpoints
        if attachment.settings is not None:
            endpoints = networking.resolved_endpoints(endpoints, attachment.settings.networks)
        state = State(status="running", pid=running.pid, started_at=running.started)
        self._containers.update_deferred(
            container, state=state, network=attachment.settings, endpoints=endpoints, stopped=False, restarts=restarts
        )
        self._containers.publish_event(container, "start")
        container.killing = False
        self.restarts.wake_dependents(container)
        self.watch(container, running)
        if attachment.offline:
            self._tasks.start(self._offline.register_started(container), f"register {container.id[:12]}")
        await container.connect_pending_attachments(running)

    async def _record_start_failure(self, container: Container, failure: StartFailure) -> None:
        """Record the error of a failed start.  Restart policies do not apply; AutoRemove does."""
        before = container.record.state
        status = "created" if before.started_at == ZERO_TIME else "exited"
        state = msgspec.structs.replace(before, status=status, pid=0, error=failure.message, exit_code=failure.code)
        self._containers.update_deferred(container, state=state)
        container.exit_waiters.complete(container.exit_code)
        if container.record.host.auto_remove:
            await self.auto_remove(container)

    # Exits

    def watch(self, container: Container, running: Running) -> None:
        """Run health checks of *running*, and handle its exit, in the background."""
        if self._health.prepare(container):
            self._tasks.loop(partial(self._health.run, container, running), f"health {container.id[:12]}")
        handled = partial(self._watch, container, running)
        running.call_at_end(partial(self._tasks.loop, handled, f"watch {container.id[:12]}"))

    async def _watch(self, container: Container, running: Running) -> None:
        """Release the network and handle the exit of *running*, whose process has ended."""
        async with container.lock:
            if container.running is not running:
                return
            # Beside the work of the shim, which reads the rest of the output and removes the control group.
            leaving = self._network.leave(container)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SHIM_SECONDS):
                    status = await running.wait()
                await self.handle_exit(container, status, leaving)
                return
        status = await running.wait()
        async with container.lock:
            if container.running is running:
                await self.handle_exit(container, status, leaving)

    async def handle_exit(
        self,
        container: Container,
        status: ExitStatus,
        leaving: asyncio.Task[None] | None = None,
        *,
        while_down: bool = False,
    ) -> None:
        """Record and publish the exit, clean up, and restart or remove the container; the caller holds the lock.

        *leaving* is the deletion of the sandbox, if it has begun; *while_down*: the process exited while this daemon
        was not running.
        """
        run_time = _seconds_between(container.record.state.started_at, status.finished)
        restart = self._should_restart(container, status.code, while_down)
        remove = container.record.host.auto_remove and not container.manual_restarts
        leaving = leaving or self._network.leave(container)
        await asyncio.wait({leaving}, timeout=_LEAVE_SECONDS)
        self._starter.publish_unmounts(container)
        await self._record_exit(container, status, "restarting" if restart else "exited", run_time)
        await asyncio.gather(leaving, self._discard(container))
        await self._starter.unmount_volumes(container)
        if restart:
            self.restarts.schedule(container, run_time)
        elif remove:
            await self.auto_remove(container)

    async def auto_remove(self, container: Container) -> None:
        """Remove a container with AutoRemove; the caller holds the lock.  A removal that fails is retried."""
        try:
            await self._removal.remove(container, volumes=True)
        except Exception as error:
            _log.warning("container not removed, will be retried: container=%s error=%s", container.id[:12], error)
            self._tasks.loop(partial(self._remove_later, container), f"remove {container.id[:12]}")

    async def _remove_later(self, container: Container) -> None:
        async with container.lock:
            if self._containers.get(container.id) is container and container.running is None:
                await self._removal.remove(container, volumes=True)

    async def _discard(self, container: Container) -> None:
        try:
            await self._supervisor.discard(container.id)
        except OSError as error:
            _log.warning(
                "exited process not cleaned up, will be retried: container=%s error=%s", container.id[:12], error
            )
            self._tasks.loop(partial(self._discard_later, container), f"discard {container.id[:12]}")

    async def _discard_later(self, container: Container) -> None:
        async with container.lock:
            if container.running is None:
                await self._supervisor.discard(container.id)

    def _should_restart(self, container: Container, code: int, while_down: bool) -> bool:
        record = container.record
        decide = restart_policy.should_restart_after_daemon_start if while_down else restart_policy.should_restart
        counts = {"code": code, "restarts": record.restarts}
        return not container.manual_restarts and decide(record.host.restart_policy, stopped=record.stopped, **counts)

    async def _record_exit(self, container: Container, status: ExitStatus, name: Status, run_time: float) -> None:
        container.running, container.netns, container.offline = None, None, False
        state = State(
            status=name,
            exit_code=status.code,
            error=status.error,
            oom_killed=status.oom_killed,
            started_at=container.record.state.started_at,
            finished_at=status.finished,
        )
        self._containers.update_deferred(container, state=state, network=None)
        if status.oom_killed:
            self._containers.publish_event(container, "oom")
        for _ in range(container.stop_requests):
            self._containers.publish_event(container, "stop")
        container.stop_requests = 0
        self._containers.publish_event(container, "die", exitCode=str(status.code), execDuration=str(int(run_time)))
        container.exit_waiters.complete(status.code)

    def cancel_restart(self, container: Container) -> bool:
        """Cancel the restart that the container waits for; return False if it waits for none.

        The caller holds the lock.
        """
        if container.record.state.status != "restarting":
            return False
        if container.restart_task is not None:
            container.restart_task.cancel()
            container.restart_task = None
        state = msgspec.structs.replace(container.record.state, status="exited")
        self._containers.update_deferred(container, state=state, stopped=True)
        container.exit_waiters.complete(container.exit_code)
        return True


def _seconds_between(started: str, finished: str) -> float:
    if started == ZERO_TIME:
        return 0.0
    return max(seconds_since(started, datetime.now(UTC)) - seconds_since(finished, datetime.now(UTC)), 0.0)
