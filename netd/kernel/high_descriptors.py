"""High numbers for file descriptors, to keep those below 1024 free.

libnftables uses select(), which aborts the process for descriptors of 1024 or more.  So descriptors that are held in
large numbers, and not passed to select(), are moved above that limit.  Owns no descriptors.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_FLOOR = 1024
_NONE = 1 << 31


def move_high(descriptor: int) -> int:
    """Move the open file to a high descriptor and return it; return *descriptor* if the limit forbids that."""
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FLOOR)
    except OSError:
        return descriptor
    os.close(descriptor)
    return high


def _next(descriptor: int) -> int:
    """Duplicate the descriptor to the lowest free number; return ``_NONE`` if none is free."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 0)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        return _NONE


@contextmanager
def only_high() -> Iterator[None]:
    """Occupy the low descriptors, so that all new descriptors of the process get high numbers."""
    occupied = []
    with open(os.devnull, "rb") as null:
        try:
            while (low := _next(null.fileno())) < _FLOOR:
                occupied.append(low)
            if low == _NONE:
                # RLIMIT_NOFILE is below 1024, so no descriptor can be too high for select().
                while occupied:
                    os.close(occupied.pop())
            else:
                os.close(low)
            yield
        finally:
            for low in occupied:
                os.close(low)
