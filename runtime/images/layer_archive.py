"""Helpers of :mod:`runtime.images.layers`: archives as streams, metadata of roots, recipes with replaced files."""

from __future__ import annotations

import os
import queue
import stat
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from runtime.images import recipe
from runtime.images.recipe import RecipeWriter, Summary
from runtime.images.replaced import Replaced
from runtime.images.tar_writer import FileSink, Sink

_CHUNKS_AHEAD = 16
_BATCH = 1 << 18

__all__ = ["Sink", "copy_root", "root_differs", "stream", "with_replaced"]


class _Closed(Exception):
    """The reader has stopped reading."""


class _Stream:
    """A file to read from, whose bytes a thread writes; at most _CHUNKS_AHEAD batches are in memory."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes] = queue.Queue(_CHUNKS_AHEAD)
        self._batch = bytearray()
        self._data = b""
        self._ended = False
        self._closed = False
        self.failure: BaseException | None = None

    def write(self, data: bytes) -> None:
        self._batch += data
        if len(self._batch) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        if self._closed:
            raise _Closed
        if self._batch:
            self._queue.put(bytes(self._batch))
            self._batch.clear()

    def end(self) -> None:
        self._queue.put(b"")

    def read(self, size: int = -1, /) -> bytes:
        if not self._data and not self._ended:
            self._data = self._queue.get()
            self._ended = not self._data
            if self._ended and self.failure is not None:
                raise self.failure
        data, self._data = (self._data[:size], self._data[size:]) if size >= 0 else (self._data, b"")
        return data

    def close(self) -> None:
        self._closed = True
        while not self._ended:
            self._ended = not self._queue.get()


@contextmanager
def stream(produce: Callable[[Sink], object]) -> Iterator[BinaryIO]:
    """Yield a file from which what *produce* writes to a sink is read; *produce* runs in a thread of its own.

    Its exception is raised by ``read``.
    """
    pipe = _Stream()

    def run() -> None:
        try:
            produce(FileSink(pipe))
            pipe.flush()
        except _Closed:
            pass
        except BaseException as error:
            pipe.failure = error
        finally:
            pipe.end()

    thread = threading.Thread(target=run, name="archive", daemon=True)
    thread.start()
    try:
        yield cast(BinaryIO, pipe)
    finally:
        pipe.close()
        thread.join()


def _root_metadata(handle: int) -> tuple[Any, ...]:
    status = os.fstat(handle)
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def root_differs(root: int, lower: int) -> bool:
    """Return whether the root of an upper folder has not the metadata that a layer's root has without an entry."""
    return _root_metadata(root) != (_root_metadata(lower) if lower >= 0 else (0o755, 0, 0))


def copy_root(lower: int, root: int) -> None:
    """Give a new layer's root the owner and mode of the root of the layer below."""
    status = os.fstat(lower)
    os.fchown(root, status.st_uid, status.st_gid)
    os.fchmod(root, stat.S_IMODE(status.st_mode))


def with_replaced(file: BinaryIO, summary: Summary, inodes: array[int], replaced: Replaced) -> None:
    """Rewrite the recipe in *file* with the content of files that were replaced within the archive."""
    with TemporaryFile() as former:
        file.seek(0)
        while data := file.read(1 << 18):
            former.write(data)
        former.seek(0)
        recipe.summary(former)
        file.seek(0)
        file.truncate()
        writer = RecipeWriter(file)
        recipe.with_content(former, writer, inodes, replaced.open)
        writer.finish(summary)
