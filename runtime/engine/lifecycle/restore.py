"""Restores state after a restart of this daemon or of netd.

Reconnects to running containers, handles exits that happened meanwhile, and deletes sandboxes of containers that do
not run.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from netd.api import SandboxView
from netd.client import NetdClient
from netd.common.errors import Problem
from netd.common.ids import now
from netd.common.tasks import Tasks
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.lifecycle import Lifecycle
from runtime.engine.network.offline_sandboxes import OfflineSandboxes
from runtime.engine.network.static_addresses import StaticAddresses
from runtime.engine.options import networking
from runtime.kernel import proc
from runtime.record import State, Status
from runtime.shim_client.supervisor import Running, Supervisor
from runtime.spec import ExitStatus

_log = logging.getLogger(__name__)
_UNKNOWN_EXIT_CODE = 255
_SIDE_BY_SIDE = 16
"""How many containers are restored at a time."""


class Restore:
    def __init__(
        self,
        containers: Containers,
        supervisor: Supervisor,
        lifecycle: Lifecycle,
        netd: NetdClient,
        static_addresses: StaticAddresses,
        offline: OfflineSandboxes,
        tasks: Tasks,
    ) -> None:
        self._tasks = tasks
        self._static_addresses = static_addresses
        self._containers = containers
        self._supervisor = supervisor
        self._lifecycle = lifecycle
        self._netd = netd
        self._offline = offline

    async def restore_all(self) -> None:
        """Update every container's record from its process; to be called before requests are served.

        If that fails for a container, its record stays as it is, and the attempt is repeated in the background.
        """
        waiting = iter(self._containers.all())

        async def restore_next() -> None:
            for container in waiting:
                await self._restore_or_retry(container)

        # Not all at once: the memory that hundreds of attempts need side by side would stay with this process.
        await asyncio.gather(*(restore_next() for _ in range(_SIDE_BY_SIDE)))

    async def _restore_or_retry(self, container: Container) -> None:
        try:
            await self._restore(container)
        except Exception as error:
            self._tasks.failures.report(f"restore {container.id[:12]}", error)
            self._tasks.loop(partial(self._restore, container), f"restore {container.id[:12]}")

    async def _restore(self, container: Container) -> None:
        async with container.lock:
            process = await self._supervisor.adopt(container.id)
            if container.running is not None or self._containers.get(container.id) is not container:
                return
            if isinstance(process, ExitStatus):
                await self._finish_exit(container, process)
            elif process is not None:
                await self._reconnect(container, process)
            elif container.record.state.counts_as_running:
                await self._handle_exit(container, None)
            elif container.record.host.auto_remove and container.record.state.status == "exited":
                await self._lifecycle.auto_remove(container)

    async def _finish_exit(self, container: Container, status: ExitStatus) -> None:
        """Handle an exit; if it is already recorded, only finish the cleanup."""
        if container.record.state.status == "exited" and container.record.state.finished_at == status.finished:
            await self._supervisor.discard(container.id)
            if container.record.host.auto_remove:
                await self._lifecycle.auto_remove(container)
        else:
            await self._handle_exit(container, status)

    async def _reconnect(self, container: Container, running: Running) -> None:
        status: Status = "paused" if container.record.state.status == "paused" else "running"
        container.running = running
        container.netns = (
            proc.namespace_path(running.pid, "net") if networking.mode(container.record.host) != "host" else None
        )
        state = State(status=status, pid=running.pid, started_at=running.started)
        if container.record.state != state:
            self._containers.update_deferred(container, state=state)
        self._lifecycle.watch(container, running)
        _log.debug("container restored: container=%s pid=%d", container.id[:12], running.pid)

    async def _handle_exit(self, container: Container, status: ExitStatus | None) -> None:
        if container.record.state.status == "restarting" and status is None:
            status = ExitStatus(container.record.state.exit_code, container.record.state.finished_at)
        if status is None:
            status = ExitStatus(_UNKNOWN_EXIT_CODE, now(), error="exit status unknown: the host or the shim went down")
        _log.info("container exited while the daemon was down: container=%s code=%d", container.id[:12], status.code)
        await self._lifecycle.handle_exit(container, status, while_down=True)

    # Sandboxes

    async def reconcile(self) -> None:
        """Delete netd's sandboxes of containers that do not run; update the records of containers from the others.

        Creates those of running containers that need no network and were started without netd.

        Sandboxes of unknown containers stay if records may be missing.  Raises Unavailable while netd is down.
        """
        await self._static_addresses.synchronize()
        incomplete = self._containers.records_may_be_missing
        views = {view.id: view for view in await self._netd.sandboxes()}
        for identifier in views:
            container = self._containers.get(identifier)
            if container is None and not incomplete:
                await self._delete(identifier)
            elif container is not None and container.running is None:
                async with container.lock:
                    if container.running is None:
                        await self._delete(identifier)
        for container in self._containers.all():
            if container.running is None or networking.shares_network(container.record.host):
                continue
            if self._offline.is_unknown(container, view := views.get(container.id)):
                async with container.lock:
                    await self._offline.register(container)
            elif view is None:
                _log.warning(
                    "sandbox is missing, restart the container to recreate it: container=%s", container.id[:12]
                )
            else:
                self._apply_view(container, view)

    def _apply_view(self, container: Container, view: SandboxView) -> None:
        container.hosts, container.netns = view.hosts, view.netns
        if container.record.network != view.network_settings:
            self._containers.update_deferred(container, network=view.network_settings)

    async def _delete(self, identifier: str) -> None:
        try:
            await self._netd.delete_sandbox(identifier)
            _log.info("orphaned sandbox deleted: container=%s", identifier[:12])
        except Problem as problem:
            _log.warning("orphaned sandbox not deleted: container=%s error=%s", identifier[:12], problem.message)
