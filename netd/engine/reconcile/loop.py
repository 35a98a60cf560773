"""Watching over what is ours: what others change in the kernel is made right again."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from netd.common.errors import Problem
from netd.engine.context import EngineContext
from netd.engine.reconcile.repair import mend

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
                context.strays_possible.set()
            context.alarm.set()
    except Exception:
        # Changes that were read and not judged are found by the repair.
        context.strays_possible.set()
        context.alarm.set()
        raise


async def keep(context: EngineContext) -> None:
    """Mend whenever the alarm is raised; goes on until it is cancelled."""
    patience = AGAIN
    while True:
        await context.alarm.wait()
        await asyncio.sleep(SETTLE)
        context.alarm.clear()
        try:
            async with context.locks.alone():
                whole = await _mend(context)
        except Exception:
            context.alarm.set()
            raise
        if whole:
            patience = AGAIN
            continue
        await asyncio.sleep(PAUSE)
        with suppress(TimeoutError):
            await asyncio.wait_for(context.alarm.wait(), patience)
        patience = min(2 * patience, LONGEST)
        context.alarm.set()


async def _mend(context: EngineContext) -> bool:
    try:
        return await mend(context)
    except Problem as problem:
        _log.error("repair=failed reason=%s", problem.message)
        return False
