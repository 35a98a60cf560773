"""Unpacks a downloaded layer in a thread, with progress, and ends the thread's work when the pull is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.images import interruptible
from runtime.images.interruptible import WatchedFile
from runtime.images.layers import Layer, Layers


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
        watched = WatchedFile(file, moved_in_thread)
        return await interruptible.run(
            lambda: layers.unpack(watched, diffs_below, expected=expected), watched.interrupt, layers.discard
        )
