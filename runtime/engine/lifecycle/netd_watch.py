"""Keeps an eye on netd: its events become ours, and whenever it comes back the sandboxes are compared again."""

from __future__ import annotations

import asyncio
import logging

from netd.client import NetdClient
from netd.common.errors import Problem
from netd.common.events import Bus
from runtime.engine.lifecycle.restore import Restore

_log = logging.getLogger(__name__)
_AGAIN = 0.5
"""Seconds between two tries while netd is down."""


class NetdWatch:
    def __init__(self, netd: NetdClient, bus: Bus, recovery: Restore) -> None:
        self._netd = netd
        self._bus = bus
        self._recovery = recovery

    async def run(self) -> None:
        """Go on until cancelled."""
        up = True
        while True:
            try:
                await self._recovery.reconcile()
                _log.info("netd answers: socket=%s", self._netd.socket)
                up = True
                async for happened in self._netd.events():
                    self._bus.publish(happened)
            except Problem as problem:
                if up:
                    _log.warning("%s; running containers go on without it", problem.message)
                up = False
            await asyncio.sleep(_AGAIN)
