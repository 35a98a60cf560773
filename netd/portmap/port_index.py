"""The index of the host ports that are reserved for sandboxes.  Pure; it has no ports of the host's programs.

Ports are stored as ranges, so that sixteen thousand consecutive ports cost as much as one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from netd.model import Publication

_Key: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class PortConflict:
    """The first port that is in use, and its holder."""

    port: int
    holder: str


@dataclass(slots=True)
class _PortRanges:
    """Disjoint ranges in ascending order."""

    firsts: list[int] = field(default_factory=list)
    spans: list[tuple[int, str]] = field(default_factory=list)
    """(Last port, holder) of the range that starts at the port with the same index in ``firsts``."""

    def find(self, first: int, last: int) -> tuple[int, str] | None:
        """Return the lowest port in use among *first* to *last*, and its holder."""
        at = bisect_right(self.firsts, first)
        if at and self.spans[at - 1][0] >= first:
            return first, self.spans[at - 1][1]
        if at < len(self.firsts) and self.firsts[at] <= last:
            return self.firsts[at], self.spans[at][1]
        return None

    def add(self, first: int, last: int, holder: str) -> None:
        at = bisect_right(self.firsts, first)
        self.firsts.insert(at, first)
        self.spans.insert(at, (last, holder))

    def remove(self, first: int) -> None:
        at = bisect_right(self.firsts, first) - 1
        if at >= 0 and self.firsts[at] == first:
            del self.firsts[at], self.spans[at]


class PortTable:
    """Ranges per protocol, family and host address; 0.0.0.0 and :: conflict with all addresses of their family."""

    def __init__(self) -> None:
        self._spans: dict[_Key, _PortRanges] = {}

    def conflict(self, publication: Publication) -> PortConflict | None:
        """Return the first conflict of *publication*; None if all its ports are free."""
        for spans in self._overlapping_tables(publication):
            if (found := spans.find(publication.port, publication.last)) is not None:
                return PortConflict(*found)
        return None

    def add(self, publication: Publication, holder: str) -> None:
        """Add *publication*, which has no conflict, for *holder*."""
        self._spans.setdefault(_key(publication), _PortRanges()).add(publication.port, publication.last, holder)

    def remove(self, publication: Publication) -> None:
        if (spans := self._spans.get(_key(publication))) is not None:
            spans.remove(publication.port)
            if not spans.firsts:
                del self._spans[_key(publication)]

    def _overlapping_tables(self, publication: Publication) -> Iterator[_PortRanges]:
        *kind, number = _key(publication)
        for (protocol, family, address), spans in self._spans.items():
            if [protocol, family] == kind and (number in (0, address) or not address):
                yield spans


def _key(publication: Publication) -> _Key:
    """Return the key of a table, with the address as an integer, whose hash is ten times as fast."""
    return publication.protocol, publication.address.version, int(publication.address)
