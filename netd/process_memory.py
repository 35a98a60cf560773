"""The memory of a daemon's process: garbage collection at its start, and the return of free memory to the kernel.

Uses glibc's malloc where that is there, and has no effect on it otherwise.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_M_ARENA_MAX = -8
_ARENAS = 2
"""Each thread that allocates beside others would get an arena of its own, whose free memory no other can use."""
_SETTLED_SECONDS = 10.0
"""Seconds after the start until what followed it has ended, such as the first exchange between the daemons."""


def begin() -> None:
    """Configure the process before it loads anything.  Objects of the start are permanent: none is collected."""
    gc.disable()
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """Leave the existing objects out of garbage collections from now on, and return what the start has used."""
    import asyncio  # not before the daemon is loaded, because --help does not need it

    gc.freeze()
    gc.enable()
    trim()
    asyncio.get_running_loop().call_later(_SETTLED_SECONDS, trim)


def trim() -> None:
    """Return free memory to the kernel, which takes some milliseconds."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
