"""The repair loop: reverts changes that other programs make to netd's objects in the kernel."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from netd.common.errors import Problem
from netd.engine.context import EngineContext
from netd.engine.reconcile.convergence import Convergence
from netd.engine.reconcile.repair import reconcile

_log = logging.getLogger(__name__)
SETTLE = 0.05
"""Seconds between a change and its repair, because most changes come in groups."""
RETRY, MAX_RETRY = 5.0, 300.0
"""Seconds until a failed repair is retried: the first delay, which doubles after each failure, and its maximum."""
PAUSE = 0.5
"""Minimum seconds between two repairs, because a repair, or a program that fights it, causes a change event."""


async def watch(context: EngineContext) -> None:
    """Request a repair after each change by another program, until the host is closed."""
    try:
        async for change in context.host.changes():
            _log.warning("changed by others: kind=%s name=%s", change.kind, change.name)
            if change.kind in ("firewall", "lost"):
                context.stray_check_needed.set()
            context.repair_needed.set()
    except Exception:
        # The repair also finds changes that were received but not classified.
        context.stray_check_needed.set()
        context.repair_needed.set()
        raise


async def run_repairs(context: EngineContext) -> None:
    """Reconcile whenever a repair is requested or a delayed step is due, until cancelled."""
    delay = RETRY
    convergence = Convergence()
    while True:
        await _wait(context.repair_needed, convergence.next_due())
        await asyncio.sleep(SETTLE)
        context.repair_needed.clear()
        try:
            async with context.locks.exclusive():
                complete = await _reconcile(context, convergence)
        except Exception:
            context.repair_needed.set()
            raise
        await asyncio.sleep(PAUSE)
        if complete:
            delay = RETRY
            continue
        with suppress(TimeoutError):
            await asyncio.wait_for(context.repair_needed.wait(), delay)
        delay = min(2 * delay, MAX_RETRY)
        context.repair_needed.set()


async def _wait(requested: asyncio.Event, due: float | None) -> None:
    """Wait for a request, or until the time *due*."""
    with suppress(TimeoutError):
        await asyncio.wait_for(requested.wait(), None if due is None else max(0.0, due - time.monotonic()))


async def _reconcile(context: EngineContext, convergence: Convergence) -> bool:
    try:
        return await reconcile(context, convergence)
    except Problem as problem:
        _log.error("repair failed: error=%s", problem.message)
        return False
