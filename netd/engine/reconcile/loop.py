"""Watching over what is ours: what others change in the kernel is made right again."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from netd.common.errors import Problem
from netd.engine.context import EngineContext
from netd.engine.reconcile.repair import reconcile

_log = logging.getLogger(__name__)
SETTLE = 0.05
"""Seconds to wait after a change: whoever removes one thing mostly removes several."""
AGAIN, LONGEST = 5.0, 300.0
"""Seconds until what could not be mended is tried again, twice as many each time; a further change ends the wait."""

PAUSE = 0.5
"""Seconds between two attempts at least, should an attempt itself be what is told as a change."""


async def watch(context: EngineContext) -> None:
    """Raise the alarm at every change that others make, until the host is closed."""
    try:
        async for change in context.host.changes():
            _log.warning("changed-by-others=%s name=%s", change.kind, change.name)
            if change.kind in ("firewall", "lost"):
                context.stray_check_needed.set()
            context.repair_needed.set()
    except Exception:
        # Changes that were read and not judged are found by the repair.
        context.stray_check_needed.set()
        context.repair_needed.set()
        raise


async def run_repairs(context: EngineContext) -> None:
    """Mend whenever the alarm is raised; goes on until it is cancelled."""
    patience = AGAIN
    while True:
        await context.repair_needed.wait()
        await asyncio.sleep(SETTLE)
        context.repair_needed.clear()
        try:
            async with context.locks.exclusive():
                whole = await _reconcile(context)
        except Exception:
            context.repair_needed.set()
            raise
        if whole:
            patience = AGAIN
            continue
        await asyncio.sleep(PAUSE)
        with suppress(TimeoutError):
            await asyncio.wait_for(context.repair_needed.wait(), patience)
        patience = min(2 * patience, LONGEST)
        context.repair_needed.set()


async def _reconcile(context: EngineContext) -> bool:
    try:
        return await reconcile(context)
    except Problem as problem:
        _log.error("repair=failed reason=%s", problem.message)
        return False
