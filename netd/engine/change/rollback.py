"""Reverting a change that failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from netd.common.errors import Problem

_log = logging.getLogger(__name__)


@asynccontextmanager
async def rollback(
    repair_needed: asyncio.Event, label: str, *undo: Callable[[], Awaitable[object]]
) -> AsyncIterator[None]:
    """If the body fails, await the *undo* calls in order, then raise the body's error.

    An undo call that raises a Problem is logged with *label* (``network=…``) and left to the repair loop; the
    remaining calls are still made.
    """
    try:
        yield
    except BaseException:
        for call in undo:
            with left_to_repair(repair_needed, f"rollback failed: {label}"):
                await call()
        raise


@contextmanager
def left_to_repair(repair_needed: asyncio.Event, message: str) -> Iterator[None]:
    """Log a Problem of the body and request a repair, instead of raising it."""
    try:
        yield
    except Problem as problem:
        _log.error("%s error=%s", message, problem.message)
        repair_needed.set()
