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
from runtime.engine.containers.container import Live
from runtime.engine.containers.containers import Fleet
from runtime.engine.lifecycle.lifecycle import Lifecycle
from runtime.engine.network.static_addresses import Declared
from runtime.engine.options import networking
from runtime.record import State, Status
from runtime.shim_client.supervisor import Running, Supervisor
from runtime.spec import ExitStatus

_log = logging.getLogger(__name__)
_UNKNOWN_END = 255


class Recovery:
    def __init__(
        self,
        fleet: Fleet,
        supervisor: Supervisor,
        lifecycle: Lifecycle,
        netd: NetdClient,
        declared: Declared,
        tasks: Tasks,
    ) -> None:
        self._tasks = tasks
        self._declared = declared
        self._fleet = fleet
        self._supervisor = supervisor
        self._lifecycle = lifecycle
        self._netd = netd

    async def adopt_all(self) -> None:
        """Bring every container's record in line with its process; to be called before any request is served.

        A container for which that fails is left as it is recorded, and tried again in the background.
        """
        await asyncio.gather(*(self._adopt_or_later(live) for live in self._fleet.all()))

    async def _adopt_or_later(self, live: Live) -> None:
        try:
            await self._adopt(live)
        except Exception as error:
            self._tasks.failures.report(f"adopt {live.id[:12]}", error)
            self._tasks.loop(partial(self._adopt, live), f"adopt {live.id[:12]}")

    async def _adopt(self, live: Live) -> None:
        async with live.lock:
            found = await self._supervisor.adopt(live.id)
            if live.running is not None or self._fleet.get(live.id) is not live:
                return
            if isinstance(found, ExitStatus):
                await self._was_ended(live, found)
            elif found is not None:
                await self._runs(live, found)
            elif live.record.state.counts_as_running:
                await self._ended(live, None)
            elif live.record.host.auto_remove and live.record.state.status == "exited":
                await self._lifecycle.remove_ended(live)

    async def _was_ended(self, live: Live, status: ExitStatus) -> None:
        """Apply an end, or only finish the clearing away of one that was told before."""
        if live.record.state.status == "exited" and live.record.state.finished_at == status.finished:
            await self._supervisor.discard(live.id)
            if live.record.host.auto_remove:
                await self._lifecycle.remove_ended(live)
        else:
            await self._ended(live, status)

    async def _runs(self, live: Live, running: Running) -> None:
        status: Status = "paused" if live.record.state.status == "paused" else "running"
        live.running = running
        live.netns = f"/proc/{running.pid}/ns/net" if networking.mode(live.record.host) != "host" else None
        state = State(status=status, pid=running.pid, started_at=running.started)
        self._fleet.note(live, state=state)
        self._lifecycle.watch(live, running)
        _log.info("adopted: container=%s pid=%d", live.id[:12], running.pid)

    async def _ended(self, live: Live, status: ExitStatus | None) -> None:
        if live.record.state.status == "restarting" and status is None:
            status = ExitStatus(live.record.state.exit_code, live.record.state.finished_at)
        if status is None:
            status = ExitStatus(_UNKNOWN_END, now(), error="nobody saw the end: the machine went down")
        _log.info("found ended: container=%s code=%d", live.id[:12], status.code)
        await self._lifecycle.has_ended(live, status, found=True)

    async def start_always(self) -> None:
        """Start what is to run whenever this daemon starts, even when somebody stopped it."""
        for live in self._fleet.all():
            if live.record.state.status == "exited" and live.record.host.restart_policy.name == "always":
                try:
                    await self._lifecycle.start(live)
                except Problem as problem:
                    _log.warning("cannot be started: container=%s error=%s", live.record.name, problem.message)

    # Sandboxes

    async def reconcile(self) -> None:
        """Compare netd's sandboxes with the containers: delete what nobody has, take over what is known.

        Raises Unavailable while netd is down.
        """
        await self._declared.agree()
        lost = self._fleet.may_lack_records
        views = {view.id: view for view in await self._netd.sandboxes()}
        for identifier in views:
            live = self._fleet.get(identifier)
            if (live is None and not lost) or (live and live.running is None and not live.lock.locked()):
                await self._delete(identifier)
        for live in self._fleet.all():
            if live.running is None or networking.shares_network(live.record.host):
                continue
            if (view := views.get(live.id)) is None:
                _log.warning("sandbox is gone: container=%s; restart it to give it a network again", live.record.name)
                continue
            live.hosts, live.netns = view.hosts, view.netns
            if live.record.network != view.network_settings:
                self._fleet.note(live, network=view.network_settings)

    async def _delete(self, identifier: str) -> None:
        try:
            await self._netd.delete_sandbox(identifier)
            _log.info("deleted left-over sandbox: container=%s", identifier[:12])
        except Problem as problem:
            _log.warning("left-over sandbox stays: container=%s error=%s", identifier[:12], problem.message)
