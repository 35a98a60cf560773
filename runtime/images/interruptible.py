"""Blocking work on archives in a thread, which ends soon after its task is cancelled, and tells how far it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from runtime.images.tarstream import ByteSource

T = TypeVar("T")

_STEP = 1 << 20
_POOL = ThreadPoolExecutor(8, thread_name_prefix="archive")
"""A pool of its own, because this work takes long and other requests need the default one."""


class Interrupted(Exception):
    """The task that waits for the work was cancelled."""


class WatchedFile:
    """A file that is read by the work.  Raises Interrupted after :meth:`interrupt`."""

    def __init__(self, source: ByteSource, progress: Callable[[int], None] = lambda _: None) -> None:
        """*progress* is called in the work's thread with the number of bytes read so far, about once in a MiB."""
        self._source = source
        self._progress = progress
        self._interrupted = threading.Event()
        self._position = self._reported = 0

    def read(self, size: int, /) -> bytes:
        if self._interrupted.is_set():
            raise Interrupted
        data = self._source.read(size)
        self._position += len(data)
        if self._position - self._reported >= _STEP or not data:
            self._reported = self._position
            self._progress(self._position)
        return data

    def interrupt(self) -> None:
        self._interrupted.set()


async def run(work: Callable[[], T], interrupt: Callable[[], None], undo: Callable[[T], None] = lambda _: None) -> T:
    """Run *work* in a thread.  If the current task is cancelled, call *interrupt*, and wait for the end of the work.

    *undo* is then called in the thread with the result, if there is one.
    """
    abandoned = threading.Event()

    def unless_abandoned() -> T:
        if abandoned.is_set():
            raise Interrupted
        return work()

    try:
        future = asyncio.get_running_loop().run_in_executor(_POOL, unless_abandoned)
    except BaseException:
        # A thread could not be started, but the work is in the pool's queue: a later thread must not do it.
        abandoned.set()
        raise
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        interrupt()
        while not future.done():
            with suppress(BaseException):
                await asyncio.shield(future)
        if future.exception() is None:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(_POOL, undo, future.result()))
        raise
