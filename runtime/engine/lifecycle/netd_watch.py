"""Watches netd: forwards its events; whenever it becomes available, reconciles sandboxes and repeats failed starts."""

from __future__ import annotations

import asyncio
import logging

from netd.client import NetdClient
from netd.common.errors import Problem
from netd.common.events import Bus
from runtime.engine.lifecycle.restarts import Restarts
from runtime.engine.lifecycle.restore import Restore
from runtime.engine.network.attachment import NetworkAttachments

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 0.5
"""The time between two attempts while netd is down."""


class NetdWatch:
    def __init__(
        self, netd: NetdClient, bus: Bus, restore: Restore, restarts: Restarts, network: NetworkAttachments
    ) -> None:
        self._network = network
        self._netd = netd
        self._restarts = restarts
        self._bus = bus
        self._restore = restore

    async def run(self) -> None:
        """Run until cancelled."""
        up = True
        while True:
            try:
                await self._restore.reconcile()
                _log.info("netd answers: socket=%s", self._netd.socket)
                up = True
                self._restarts.wake()
                async for event in self._netd.events():
                    self._bus.publish(event)
                    self._network.on_netd_event(event)
            except Problem as problem:
                if up:
                    _log.warning("netd does not answer, running containers are not affected: error=%s", problem.message)
                up = False
            await asyncio.sleep(_RETRY_SECONDS)
