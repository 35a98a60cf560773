"""Keeping the low file descriptors free.

libnftables waits with select(), which ends the process at a descriptor of 1024 or more.  So whatever is held in
numbers, and needs no low one, is moved above that.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_FLOOR = 1024
_NONE = 1 << 31


def lift(descriptor: int) -> int:
    """Return the same open file under a high number instead; where the limits forbid that, what was given."""
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FLOOR)
    except OSError:
        return descriptor
    os.close(descriptor)
    return high


def _next(descriptor: int) -> int:
    """Return a copy of the descriptor with the lowest number that is free."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 0)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        return _NONE


@contextmanager
def only_high() -> Iterator[None]:
    """While this lasts, new descriptors get high numbers whoever opens them."""
    taken = []
    with open(os.devnull, "rb") as nothing:
        try:
            while (low := _next(nothing.fileno())) < _FLOOR:
                taken.append(low)
            if low == _NONE:
                # The limit is below: then there are too few to become a danger.
                while taken:
                    os.close(taken.pop())
            else:
                os.close(low)
            yield
        finally:
            for low in taken:
                os.close(low)
