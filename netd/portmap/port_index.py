"""Which host ports are given to whom.  Pure: whether the host's own programs use a port is not known here.

Ports are kept as spans, so that sixteen thousand in a row cost as much as one.
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
    """The first port that stands in the way, and whose it is."""

    port: int
    holder: str


@dataclass(slots=True)
class _Spans:
    """Spans that do not touch one another, in order."""

    firsts: list[int] = field(default_factory=list)
    spans: list[tuple[int, str]] = field(default_factory=list)
    """(last port, holder), by the same index."""

    def find(self, first: int, last: int) -> tuple[int, str] | None:
        """Return the lowest taken port among first … last, and its holder."""
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
    """Tables by protocol, family and address of the host; 0.0.0.0 and :: stand for all of theirs."""

    def __init__(self) -> None:
        self._spans: dict[_Key, _Spans] = {}

    def conflict(self, wanted: Publication) -> PortConflict | None:
        """Return what keeps *wanted* from being given."""
        for spans in self._rivals(wanted):
            if (found := spans.find(wanted.port, wanted.last)) is not None:
                return PortConflict(*found)
        return None

    def add(self, given: Publication, holder: str) -> None:
        """Note that *given*, which is in nobody's way, is *holder*'s."""
        self._spans.setdefault(_key(given), _Spans()).add(given.port, given.last, holder)

    def remove(self, given: Publication) -> None:
        if (spans := self._spans.get(_key(given))) is not None:
            spans.remove(given.port)
            if not spans.firsts:
                del self._spans[_key(given)]

    def _rivals(self, wanted: Publication) -> Iterator[_Spans]:
        *mine, at = _key(wanted)
        for (protocol, family, address), spans in self._spans.items():
            if [protocol, family] == mine and (at in (0, address) or not address):
                yield spans


def _key(given: Publication) -> _Key:
    """The address as a number: as an object it takes ten times as long to look up."""
    return given.protocol, given.address.version, int(given.address)
