"""A bounded pipe of bytes between a thread that writes an archive and one that reads it, or the event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

from runtime.images.tar_writer import FileSink, Sink

_BATCHES = 16
BATCH = 1 << 18
_END_PAUSE = 0.01
"""Seconds between attempts to end the data while the pipe is full."""


class PipeClosed(Exception):
    """The reader has stopped reading."""


class BytePipe:
    """One end is written to and ended, the other is read and closed; at most _BATCHES batches are in memory."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes] = queue.Queue(_BATCHES)
        self._batch = bytearray()
        self._data = memoryview(b"")
        self._ended = False
        self._closed = self._abandoned = False
        self._failure: BaseException | None = None

    # Writing

    def write(self, data: bytes) -> None:
        """Write *data*; blocks while the pipe is full.  Raises PipeClosed."""
        self._batch += data
        if len(self._batch) >= BATCH:
            self.flush()

    def flush(self) -> None:
        if self._closed:
            raise PipeClosed
        if self._batch:
            self._queue.put(bytes(self._batch))
            self._batch.clear()

    def end(self, failure: BaseException | None = None) -> None:
        """End the data; with *failure*, reading beyond it raises that exception."""
        self._failure = failure
        self._queue.put(b"")

    async def feed(self, chunks: AsyncIterator[bytes]) -> None:
        """Write all *chunks* without blocking the event loop, and end; their exception ends the data, and is raised."""
        failure: BaseException | None = None
        try:
            async for chunk in chunks:
                if self._closed:
                    continue  # the client gets the response after it has sent everything
                self._batch += chunk
                if len(self._batch) >= BATCH:
                    await asyncio.to_thread(self._put_batch)
            if not self._closed:
                await asyncio.to_thread(self._put_batch)
        except BaseException as error:
            failure = error if isinstance(error, Exception) else PipeClosed("the request was cancelled")
            raise
        finally:
            self._failure = failure
            self._end_soon(asyncio.get_running_loop())

    def _end_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the data as soon as the queue has room, without a thread, which the system may refuse to start."""
        try:
            self._queue.put_nowait(b"")
        except queue.Full:
            if self._abandoned:
                return
            loop.call_later(_END_PAUSE, self._end_soon, loop)

    def _put_batch(self) -> None:
        if self._batch:
            self._queue.put(bytes(self._batch))
            self._batch.clear()

    # Reading

    def read(self, size: int = -1, /) -> bytes:
        """Return up to *size* bytes, b"" at the end only.  Raises the writer's exception."""
        if not self._data:
            self._data = memoryview(self._take())
            if not self._data and self._failure is not None:
                raise self._failure
        if size < 0 or size >= len(self._data):
            data, self._data = self._data, memoryview(b"")
        else:
            data, self._data = self._data[:size], self._data[size:]
        return bytes(data)

    def close(self) -> None:
        """Stop reading: the rest of the data is discarded."""
        self._closed = True
        while self._take():
            pass

    def abandon(self) -> None:
        """Nobody reads any more: release a writer that waits for room."""
        self._closed = self._abandoned = True
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()

    def _take(self) -> bytes:
        if self._ended:
            return b""
        data = self._queue.get()
        self._ended = not data
        return data


@contextmanager
def stream(produce: Callable[[Sink], object]) -> Iterator[BytePipe]:
    """Yield a file from which what *produce* writes to a sink is read; *produce* runs in a thread of its own.

    Its exception is raised by ``read``.
    """
    pipe = BytePipe()

    def run() -> None:
        failure: BaseException | None = None
        try:
            produce(FileSink(pipe))
            pipe.flush()
        except PipeClosed:
            pass
        except BaseException as error:
            failure = error
        finally:
            pipe.end(failure)

    thread = threading.Thread(target=run, name="archive", daemon=True)
    thread.start()
    try:
        yield pipe
    finally:
        pipe.close()
        thread.join()
