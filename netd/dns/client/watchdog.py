"""Detects a server that is stopped, hangs or blocks: connected, but not processing messages.

The server is pinged at intervals, and at once when a flush has timed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Protocol

INTERVAL = 2.0
"""Seconds between two pings."""
TICK = 0.25
"""Seconds."""
TICKS = 12
"""Ticks in a row without progress after which a server counts as hung.  Counted, not measured in time: a period in
which netd itself was stopped counts as one tick."""


class Pingable(Protocol):
    """The connection to a server."""

    flush_timed_out: asyncio.Event
    """Set when a flush has timed out."""

    def ping(self) -> Callable[[], bool]:
        """Send a ping; return a function that returns True once it is answered or the connection has changed."""
        ...

    def progress(self) -> Hashable:
        """Return a value that changes while the server processes messages."""
        ...


async def until_hung(server: Pingable) -> None:
    """Return when the server counts as hung."""
    while True:
        try:
            async with asyncio.timeout(INTERVAL):
                await server.flush_timed_out.wait()
        except TimeoutError:
            pass
        server.flush_timed_out.clear()
        if await _is_hung(server):
            return


async def _is_hung(server: Pingable) -> bool:
    is_settled = server.ping()
    before, ticks = server.progress(), 0
    while ticks < TICKS:
        await asyncio.sleep(TICK)
        if is_settled():
            return False
        now = server.progress()
        before, ticks = (before, ticks + 1) if now == before else (now, 0)
    return True
