"""Finds things again after a restart of this daemon, or of netd.

Containers that run are adopted; ends that nobody saw are applied; sandboxes that belong to nobody are deleted.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from netd.client import NetdClient
from netd.common.errors import Problem
from netd.common.ids import now
from netd.common.tasks import Tasks
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.lifecycle import Lifecycle
from runtime.engine.network.static_addresses import StaticAddresses
from runtime.engine.options import networking
from runtime.record import State, Status
from runtime.shim_client.supervisor import Running, Supervisor
from runtime.spec import ExitStatus

_log = logging.getLogger(__name__)
_UNKNOWN_END = 255


class Restore:
    def __init__(
        self,
        containers: Containers,
        supervisor: Supervisor,
        lifecycle: Lifecycle,
        netd: NetdClient,
        static_addresses: StaticAddresses,
        tasks: Tasks,
    ) -> None:
        self._tasks = tasks
        self._static_addresses = static_addresses
        self._containers = containers
        self._supervisor = supervisor
        self._lifecycle = lifecycle
        self._netd = netd

    async def adopt_all(self) -> None:
        """Bring every container's record in line with its process; to be called before any request is served.

        A container for which that fails is left as it is recorded, and tried again in the background.
        """
        await asyncio.gather(*(self._adopt_or_later(container) for container in self._containers.all()))

    async def _adopt_or_later(self, container: Container) -> None:
        try:
            await self._adopt(container)
        except Exception as error:
            self._tasks.failures.report(f"adopt {container.id[:12]}", error)
            self._tasks.loop(partial(self._adopt, container), f"adopt {container.id[:12]}")

    async def _adopt(self, container: Container) -> None:
        async with container.lock:
            found = await self._supervisor.adopt(container.id)
            if container.running is not None or self._containers.get(container.id) is not container:
                return
            if isinstance(found, ExitStatus):
                await self._was_ended(container, found)
            elif found is not None:
                await self._runs(container, found)
            elif container.record.state.counts_as_running:
                await self._ended(container, None)
            elif container.record.host.auto_remove and container.record.state.status == "exited":
                await self._lifecycle.remove_ended(container)

    async def _was_ended(self, container: Container, status: ExitStatus) -> None:
        """Apply an end, or only finish the clearing away of one that was told before."""
        if container.record.state.status == "exited" and container.record.state.finished_at == status.finished:
            await self._supervisor.discard(container.id)
            if container.record.host.auto_remove:
                await self._lifecycle.remove_ended(container)
        else:
            await self._ended(container, status)

    async def _runs(self, container: Container, running: Running) -> None:
        status: Status = "paused" if container.record.state.status == "paused" else "running"
        container.running = running
        container.netns = f"/proc/{running.pid}/ns/net" if networking.mode(container.record.host) != "host" else None
        state = State(status=status, pid=running.pid, started_at=running.started)
        self._containers.note(container, state=state)
        self._lifecycle.watch(container, running)
        _log.info("adopted: container=%s pid=%d", container.id[:12], running.pid)

    async def _ended(self, container: Container, status: ExitStatus | None) -> None:
        if container.record.state.status == "restarting" and status is None:
            status = ExitStatus(container.record.state.exit_code, container.record.state.finished_at)
        if status is None:
            status = ExitStatus(_UNKNOWN_END, now(), error="nobody saw the end: the machine went down")
        _log.info("found ended: container=%s code=%d", container.id[:12], status.code)
        await self._lifecycle.has_ended(container, status, found=True)

    async def start_always(self) -> None:
        """Start what is to run whenever this daemon starts, even when somebody stopped it."""
        for container in self._containers.all():
            if container.record.state.status == "exited" and container.record.host.restart_policy.name == "always":
                try:
                    await self._lifecycle.start(container)
                except Problem as problem:
                    _log.warning("cannot be started: container=%s error=%s", container.record.name, problem.message)

    # Sandboxes

    async def reconcile(self) -> None:
        """Compare netd's sandboxes with the containers: delete what nobody has, take over what is known.

        Raises Unavailable while netd is down.
        """
        await self._static_addresses.agree()
        lost = self._containers.may_lack_records
        views = {view.id: view for view in await self._netd.sandboxes()}
        for identifier in views:
            container = self._containers.get(identifier)
            if (container is None and not lost) or (
                container and container.running is None and not container.lock.locked()
            ):
                await self._delete(identifier)
        for container in self._containers.all():
            if container.running is None or networking.shares_network(container.record.host):
                continue
            if (view := views.get(container.id)) is None:
                _log.warning(
                    "sandbox is gone: container=%s; restart it to give it a network again", container.record.name
                )
                continue
            container.hosts, container.netns = view.hosts, view.netns
            if container.record.network != view.network_settings:
                self._containers.note(container, network=view.network_settings)

    async def _delete(self, identifier: str) -> None:
        try:
            await self._netd.delete_sandbox(identifier)
            _log.info("deleted left-over sandbox: container=%s", identifier[:12])
        except Problem as problem:
            _log.warning("left-over sandbox stays: container=%s error=%s", identifier[:12], problem.message)
