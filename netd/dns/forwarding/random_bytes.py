"""Random bytes for ids, ports and letter case, drawn from the kernel in blocks: a draw costs no system call."""

from __future__ import annotations

import os

_BLOCK = 4096
"""Bytes."""


class RandomBytes:
    """A block of random bytes, each of which is used once.  Must not be shared with a forked process."""

    __slots__ = ("_at", "_block")

    def __init__(self) -> None:
        self._block = b""
        self._at = _BLOCK

    def take(self, count: int) -> bytes:
        """Return *count* bytes, at most a block of them."""
        begin = self._at
        end = begin + count
        if end > len(self._block):
            self._block, begin, end = os.urandom(_BLOCK), 0, count
        self._at = end
        return self._block[begin:end]


RANDOM = RandomBytes()
"""The bytes of this process, which has one thread."""
