"""Requests on existing containers: stop, kill, restart, pause, rename, remove, wait."""

from __future__ import annotations

import asyncio
import signal as os_signal
from contextlib import suppress

import msgspec

from netd.common.errors import BadRequest, Conflict, NotModified, Problem, ServerError
from runtime import signal_numbers
from runtime.container_config import split_link
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.containers.names import check_name
from runtime.engine.lifecycle import exits
from runtime.engine.lifecycle.lifecycle import Lifecycle
from runtime.engine.lifecycle.remove import ContainerRemoval
from runtime.engine.network.attachment import NetworkAttachments
from runtime.shim_client.supervisor import Running, Supervisor

_KILL = int(os_signal.SIGKILL)
_TERM = int(os_signal.SIGTERM)
_STOP_TIMEOUT = 10
_NEW_NAME = "Error when allocating new name: "
"""Docker's words before the reason that a name is refused."""
"""Docker's default, in seconds."""
_KILL_TIMEOUT, _KILL_ALL_TIMEOUT = 10.0, 2.0
"""Seconds to wait for the exit after SIGKILL to the first process, and after SIGKILL to all processes."""
_EXEC_START_SECONDS = 5.0
"""How long a pause waits for execs that are being started."""


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
        the restart is cancelled.  Earlier restart requests that still wait for the exit are cancelled too.  Raises
        NotModified if the container has no process.
        """
        number = self._stop_signal(container, signal)
        async with container.hold():
            if self._lifecycle.cancel_restart(container):
                return
            if container.running is None:
                raise NotModified("not running")
            self._keep_stopped(container)
            exited = container.exit_waiters.add()
        await self._stop(container, number, self._timeout(container, seconds), exited)

    def _stop_signal(self, container: Container, signal: str) -> int:
        return signal_numbers.number(signal or container.record.config.stop_signal or str(_TERM))

    def _timeout(self, container: Container, seconds: int | None) -> float | None:
        configured = container.record.config.stop_timeout
        chosen = seconds if seconds is not None else configured if configured is not None else _STOP_TIMEOUT
        return None if chosen < 0 else float(chosen)

    async def _stop(
        self, container: Container, number: int, seconds: float | None, exited: asyncio.Future[int]
    ) -> None:
        container.stop_requests += 1
        try:
            await self._signal(container, number)
            await self._thaw(container)
            if not await _within(exited, seconds):
                await self._kill_and_wait(container, exited)
        finally:
            # An exit has set it to zero; a stop that failed is no event of a later exit.
            container.stop_requests = max(container.stop_requests - 1, 0)

    async def _kill_and_wait(self, container: Container, exited: asyncio.Future[int]) -> None:
        container.killing = True
        await self._signal(container, _KILL)
        await self._thaw(container)
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

        If the container waits for its restart, any signal cancels the restart.  SIGKILL and the stop signal cancel
        earlier restart requests that still wait for the exit.
        """
        try:
            number = signal_numbers.number(signal or str(_KILL))
        except BadRequest as problem:
            raise BadRequest(f"cannot kill container: {container.record.name}: {problem.message}") from None
        async with container.hold():
            if self._lifecycle.cancel_restart(container):
                return
            self._require_running(container, f"cannot kill container: {container.record.name}: ")
            if number in (_KILL, self._stop_signal(container, "")):
                self._keep_stopped(container)
            if number != _KILL:
                await self._signal(container, number)
                return
            exited = container.exit_waiters.add()
        await self._kill_and_wait(container, exited)

    def _keep_stopped(self, container: Container) -> None:
        """Prevent a start after the next exit: by restart policy, and by restart requests under way."""
        self._containers.update_deferred(container, stopped=True)
        container.manual_restarts.clear()

    async def restart(self, container: Container, *, signal: str = "", seconds: int | None = None) -> None:
        """Stop the container if it runs, then start it.  Raises Conflict if a later request stops the container."""
        number = self._stop_signal(container, signal)
        request = object()
        async with container.hold():
            self._lifecycle.cancel_restart(container)
            exited = container.exit_waiters.add() if container.running is not None else None
            container.manual_restarts.add(request)
        try:
            if exited is not None:
                await self._stop(container, number, self._timeout(container, seconds), exited)
            if request not in container.manual_restarts:
                raise Conflict(
                    f"container {container.record.name} was stopped during its restart: start it if it is to run"
                )
            with suppress(NotModified):
                await self._lifecycle.start(container, restarting=True)
        finally:
            container.manual_restarts.discard(request)
            container.end_transition()
        self._containers.publish_event(container, "restart")

    async def pause(self, container: Container) -> None:
        """Freeze all processes.  If the container exits meanwhile, the request finds it as it is after that."""
        while True:
            async with container.hold():
                running = self._require_running(container)
                if container.record.state.status == "paused":
                    raise Conflict(f"Container {container.id} is already paused")
                await _wait_for_exec_starts(container)
                if not container.killing and await exits.unless_gone(self._supervisor.pause(container.id)):
                    self._containers.update_state_deferred(container, status="paused")
                    self._containers.publish_event(container, "pause")
                    return
            await running.wait()

    async def unpause(self, container: Container) -> None:
        async with container.hold():
            if container.record.state.status != "paused":
                raise ServerError(f"Container {container.id} is not paused")
            await exits.unless_gone(self._supervisor.resume(container.id))
            self._containers.update_state_deferred(container, status="running")
            self._containers.publish_event(container, "unpause")

    async def _thaw(self, container: Container) -> None:
        """Thaw the processes, which are to exit; until then the container stays paused for other requests."""
        async with container.lock:
            if container.record.state.status == "paused":
                await exits.unless_gone(self._supervisor.resume(container.id))

    def _require_running(self, container: Container, prefix: str = "") -> Running:
        if not prefix:
            container.check_not_restarting()
        if container.running is None:
            raise Conflict(f"{prefix}container {container.id} is not running")
        return container.running

    async def remove(self, container: Container, *, force: bool = False, volumes: bool = False) -> None:
        """Remove the container; with *force*, kill it first if it runs.

        Other requests wait for the removal: they find the container removed or, after a failure, as it is.
        """
        async with container.hold():
            if not container.record.state.counts_as_running:
                await self._removal.remove(container, volumes=volumes)
                return
            if not force:
                raise Conflict(_refusal_to_remove(container))
            container.removing = True
        try:
            await self._kill_and_remove(container, volumes)
        finally:
            container.removing = False
            container.end_transition()

    async def _kill_and_remove(self, container: Container, volumes: bool) -> None:
        """Kill and remove the container; ``removing`` keeps other requests from starting it meanwhile."""
        while True:
            async with container.lock:
                self._lifecycle.cancel_restart(container)
                if container.running is None:
                    # A container with AutoRemove is removed at its exit.
                    if not container.removed:
                        await self._removal.remove(container, volumes=volumes)
                    return
                self._containers.update_deferred(container, stopped=True)
                exited = container.exit_waiters.add()
            await self._kill_and_wait(container, exited)

    async def remove_link(self, name: str) -> None:
        """Remove the link ``owner/alias``; a running owner resolves its alias until it is started again."""
        if "/" not in name.removeprefix("/"):
            self._containers.find(name)
            raise Conflict("Conflict, cannot remove the default link name of the container")
        owner = self._containers.find_link(name)[0]
        async with owner.hold():
            owner, _, alias = self._containers.find_link(name)
            host = owner.record.host
            kept = [text for text in host.links or () if split_link(text)[1] != alias]
            await self._containers.update(owner, host=msgspec.structs.replace(host, links=kept or None))

    async def rename(self, container: Container, name: str) -> None:
        """Rename the container, in the record and in DNS."""
        if not name:
            raise BadRequest("Neither old nor new names may be empty")
        try:
            check_name(name)
        except BadRequest as problem:
            text = problem.message.replace(f"({name})", f"(/{name.removeprefix('/')})")
            raise BadRequest(f"{_NEW_NAME}{text}") from None
        name = check_name(name)
        async with container.hold():
            old = container.record.name
            if name == old:
                raise BadRequest("Renaming a container with the same name as its current name")
            try:
                await self._containers.rename(container, name)
            except Conflict as problem:
                raise Conflict(f"{_NEW_NAME}{problem.message}") from None
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


def _refusal_to_remove(container: Container) -> str:
    record = container.record
    advice = "unpause and then stop" if record.state.status == "paused" else "stop"
    return (
        f'cannot remove container "{record.name}": container is {record.state.status}:'
        f" {advice} the container before removing or force remove"
    )


async def _wait_for_exec_starts(container: Container) -> None:
    """Wait until no exec is being started; those that take too long hang until the container is unpaused."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_EXEC_START_SECONDS):
            while container.exec_starts:
                await container.transition()


async def _within(exited: asyncio.Future[int], seconds: float | None) -> bool:
    done, _ = await asyncio.wait([exited], timeout=seconds)
    return bool(done)
