"""The memory of a daemon's process: garbage collection at its start, and the return of free memory to the kernel.

Uses glibc's malloc where that is there, and has no effect on it otherwise.
"""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress
from pathlib import Path

_M_ARENA_MAX = -8
_ARENAS = 2
"""Each thread that allocates beside others would get an arena of its own, whose free memory no other can use."""
_FIRST_SECONDS, _SECONDS = 10.0, 60.0
"""Seconds until the memory is looked at: after the start, and between two looks."""
_GROWN = 2 << 20
"""Bytes by which the resident memory must have grown since the last return of memory, which takes some milliseconds."""


def begin() -> None:
    """Configure the process before it loads anything.  Objects of the start are permanent: none is collected."""
    gc.disable()
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """Leave the existing objects out of garbage collections from now on, and return what the start has used.

    From then on, memory is returned when it has grown: what many containers took on their way is free afterwards.
    """
    import asyncio  # not before the daemon is loaded, because --help does not need it

    loop = asyncio.get_running_loop()

    def look(after: int) -> None:
        loop.call_later(_SECONDS, look, trim() if resident() > after + _GROWN else after)

    gc.freeze()
    gc.enable()
    loop.call_later(_FIRST_SECONDS, look, trim())


def trim() -> int:
    """Return free memory to the kernel, and the bytes that stay resident."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return resident()


def resident() -> int:
    """Return the resident bytes of this process; 0 if they cannot be read."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
