"""Replaces the command line of this process in ``/proc/PID/cmdline``.

Processes that enter a container are forked with the command line of the zygote, which contains paths of the host.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_START, _END = 45, 46
"""Fields arg_start and arg_end of /proc/PID/stat, counted from the state."""

_area = (0, 0)


def find() -> None:
    """Look up the address of the arguments of this process; it is the same in forked children."""
    global _area
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    _area = int(fields[_START]), int(fields[_END])


def replace(words: Sequence[str]) -> None:
    """Overwrite the arguments with *words*, cut to their former length; does nothing before :func:`find`."""
    start, end = _area
    if start:
        text = b"".join(os.fsencode(word) + b"\0" for word in words)[: end - start - 1]
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
