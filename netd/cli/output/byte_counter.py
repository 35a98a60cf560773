"""Counts the bytes of a transfer; on a terminal, a line on standard error after half a second."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SHOW_AFTER, _SHOW_EVERY = 0.5, 0.25
"""Seconds until progress is shown, and between two updates."""


class ByteCounter:
    """*words* begin the line: ``Copying a to b``."""

    def __init__(self, words: str, *, quiet: bool = False) -> None:
        from time import monotonic

        self._now = monotonic
        self._words = words
        self._live = not quiet and os.isatty(2)
        self._bytes = 0
        self._next = monotonic() + _SHOW_AFTER
        self._shown = False

    def count(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        try:
            for data in chunks:
                self._bytes += len(data)
                if self._live and self._now() >= self._next:
                    self._next = self._now() + _SHOW_EVERY
                    self._shown = True
                    self._print(f"\r\033[K{self._words}: {self.size()}")
                yield data
        finally:
            self.clear()

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            self._shown = False
            self._print("\r\033[K")

    def size(self) -> str:
        from netd.cli.output.human import size

        return size(self._bytes)

    def _print(self, words: str) -> None:
        sys.stderr.write(words)
        sys.stderr.flush()
