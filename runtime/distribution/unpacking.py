"""Unpacks a downloaded layer in a thread, with progress, and ends the thread's work when the pull is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from netd.common.errors import Problem
from netd.common.tasks import start_awaited
from runtime.images.layers import Layer, Layers

_STEP = 1 << 20


class _Cancelled(Exception):
    """The pull was cancelled while its layer was unpacked."""


class _Watched:
    """A compressed layer whose reader is counted, and can be stopped from another thread."""

    def __init__(self, file: BinaryIO, moved: Callable[[int], None]) -> None:
        self._file = file
        self._moved = moved
        self._read = self._reported = 0
        self.cancelled = False

    def read(self, size: int = -1, /) -> bytes:
        if self.cancelled:
            raise _Cancelled
        data = self._file.read(size)
        self._read += len(data)
        if self._read - self._reported >= _STEP or not data:
            self._reported = self._read
            self._moved(self._read)
        return data


async def unpack(
    layers: Layers, path: Path, diffs_below: Sequence[str], expected: str, moved: Callable[[int], None]
) -> Layer:
    """Return the unpacked layer, which is not yet published.  *moved* is called with the bytes read so far.

    Raises BadArchive if its archive is damaged, or if its digest is not *expected*.
    """
    loop = asyncio.get_running_loop()

    def moved_in_thread(count: int) -> None:
        loop.call_soon_threadsafe(moved, count)

    with path.open("rb") as file:
        watched = _Watched(file, moved_in_thread)
        job = start_awaited(asyncio.to_thread(_unpack, layers, watched, diffs_below, expected))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            watched.cancelled = True
            with suppress(_Cancelled, Problem, OSError):
                layers.discard(await job)
            raise


def _unpack(layers: Layers, watched: _Watched, diffs_below: Sequence[str], expected: str) -> Layer:
    return layers.unpack(watched, diffs_below, expected=expected)  # type: ignore[arg-type]  # reads only
