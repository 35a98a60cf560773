"""Finding a name server that has stopped, hangs or waits for ever: it takes orders and does nothing.

The server is asked for a sign of life at intervals, and at once when somebody has waited for it in vain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Protocol

INTERVAL = 2.0
"""Seconds between two looks."""
TICK = 0.25
"""Seconds."""
TICKS = 12
"""After so many without a sign of life in a row a server counts as hung.  Counted and not measured: when netd itself
or all processes were stopped for a while, no more than one tick has passed for it."""


class Watched(Protocol):
    """The connection to a server."""

    doubted: asyncio.Event
    """Set when somebody has waited in vain."""

    def ping(self) -> Callable[[], bool]:
        """Ask for a sign of life; the function returned tells whether it came or there is nobody to ask any more."""
        ...

    def progress(self) -> Hashable:
        """Return what changes while the server works on what it was sent."""
        ...


async def until_hung(watched: Watched) -> None:
    """Return when the server gives no sign of life any more."""
    while True:
        try:
            async with asyncio.timeout(INTERVAL):
                await watched.doubted.wait()
        except TimeoutError:
            pass
        watched.doubted.clear()
        if await _is_hung(watched):
            return


async def _is_hung(watched: Watched) -> bool:
    is_settled = watched.ping()
    before, ticks = watched.progress(), 0
    while ticks < TICKS:
        await asyncio.sleep(TICK)
        if is_settled():
            return False
        now = watched.progress()
        before, ticks = (before, ticks + 1) if now == before else (now, 0)
    return True
