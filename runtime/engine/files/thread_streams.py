"""Byte streams between a thread, which blocks, and the event loop, which does not.

Both directions keep a bounded number of bytes.  When one side ends, the other gets an exception or the end.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable

_CHUNK = 1 << 20
_BATCH = 1 << 18
_MOST = 8


class Cancelled(Exception):
    """The other side of the stream has ended early."""


class FromThread:
    """Bytes that a thread writes and the event loop reads; a sink for :mod:`runtime.images.tar_writer`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._space = threading.Semaphore(_MOST)
        self._batch = bytearray()
        self._closed = False
        self._ended = False
        self._failure: BaseException | None = None

    def start(self, produce: Callable[[FromThread], None]) -> None:
        """Call *produce* in a thread of its own."""
        threading.Thread(target=self._run, args=(produce,), name="archive", daemon=True).start()

    def write(self, data: bytes) -> None:
        """Append to the stream, in the thread.  Raises Cancelled if the reader has gone."""
        self._batch += data
        if len(self._batch) >= _BATCH:
            self._flush()

    def write_content(self, path: bytes, handle: int, size: int) -> None:
        """Append *size* bytes of an open file; the rest of a file that became shorter is zeros."""
        left = size
        while left:
            data = os.read(handle, min(left, _CHUNK)) or bytes(min(left, _CHUNK))
            left -= len(data)
            if len(data) < _BATCH:
                self.write(data)
            else:
                self._flush()
                self._put(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the stream; raise the exception of the thread at its place."""
        while True:
            await self._arrived.wait()
            while self._chunks:
                data = self._chunks.popleft()
                self._space.release()
                yield data
            if self._ended:
                if self._failure is not None:
                    raise self._failure
                return
            self._arrived.clear()

    def close(self) -> None:
        """End the thread at its next write, if it still runs."""
        self._closed = True
        self._space.release()

    def _run(self, produce: Callable[[FromThread], None]) -> None:
        try:
            produce(self)
            self._flush()
        except Cancelled:
            pass
        except BaseException as failure:
            self._failure = failure
        self._call(self._end)

    def _flush(self) -> None:
        if self._batch:
            data = bytes(self._batch)
            self._batch.clear()
            self._put(data)

    def _put(self, data: bytes) -> None:
        self._space.acquire()
        if self._closed:
            raise Cancelled
        self._call(self._append, data)

    def _call(self, function: Callable[..., None], *arguments: bytes) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: the daemon ends
            raise Cancelled from None

    def _append(self, data: bytes) -> None:
        self._chunks.append(data)
        self._arrived.set()

    def _end(self) -> None:
        self._ended = True
        self._arrived.set()


class ToThread:
    """Bytes that the event loop writes and a thread reads."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._space = asyncio.Event()
        self._rest = memoryview(b"")
        self._ended = False
        self._cancelled = False
        self._done = False

    async def run(self, source: AsyncIterator[bytes], consume: Callable[[ToThread], None]) -> None:
        """Feed *source* to *consume*, which runs in a thread of its own; return or raise with it.

        The rest of *source* is read and dropped when *consume* has returned.
        """
        finished: asyncio.Future[None] = self._loop.create_future()
        threading.Thread(target=self._run, args=(consume, finished), name="extract", daemon=True).start()
        try:
            async for data in source:
                await self._feed(data)
                if finished.done() and finished.exception():
                    break
            self._stop()
            await asyncio.wait((finished,))
        except BaseException:
            self._stop(cancelled=True)
            await asyncio.wait((finished,))
            finished.exception()
            raise
        finished.result()

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes, b"" at the end; in the thread.  Raises Cancelled if the source has failed."""
        if not self._rest:
            self._rest = memoryview(self._next())
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    async def _feed(self, data: bytes) -> None:
        with self._changed:
            if self._done:
                return
            self._chunks.append(data)
            self._space.clear()
            full = len(self._chunks) >= _MOST
            self._changed.notify()
        if full:
            await self._space.wait()

    def _next(self) -> bytes:
        with self._changed:
            while not self._chunks and not self._ended:
                self._changed.wait()
            if self._cancelled:
                raise Cancelled
            data = self._chunks.popleft() if self._chunks else b""
        self._loop.call_soon_threadsafe(self._space.set)
        return data

    def _stop(self, *, cancelled: bool = False) -> None:
        with self._changed:
            self._ended = True
            self._cancelled = cancelled
            self._changed.notify()

    def _run(self, consume: Callable[[ToThread], None], finished: asyncio.Future[None]) -> None:
        failure: BaseException | None = None
        try:
            consume(self)
        except BaseException as error:
            failure = error
        with self._changed:
            self._done = True
            self._chunks.clear()
        self._loop.call_soon_threadsafe(self._finish, finished, failure)

    def _finish(self, finished: asyncio.Future[None], failure: BaseException | None) -> None:
        self._space.set()
        if finished.done():
            return
        if failure is None:
            finished.set_result(None)
        else:
            finished.set_exception(failure)
