"""Runs blocking functions in threads so that a cancelled build does not leave them behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from netd.common.tasks import start_awaited

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call *function* in a thread.  If the task is cancelled, raise CancelledError when the function has returned.

    The files that it works on can therefore be deleted after the exception.
    """
    return await finished(asyncio.to_thread(function, *arguments, **options))


async def in_thread_or_undo(function: Callable[[], T], undo: Callable[[T], object]) -> T:
    """Call *function* in a thread; if the task is cancelled meanwhile, call *undo* with the result."""
    results: list[T] = []

    async def call() -> T:
        results.append(await asyncio.to_thread(function))
        return results[0]

    try:
        return await finished(call())
    except asyncio.CancelledError:
        for result in results:
            undo(result)
        raise


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """Await *work* to its end.  If the task is cancelled meanwhile, also more than once, raise CancelledError then.

    An error of the work is discarded in that case.
    """
    task = start_awaited(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # asyncio logs an error that nothing has retrieved
        raise cancelled
    return task.result()
