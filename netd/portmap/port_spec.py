"""Ports and port ranges as text, such as ``80``, ``80-82`` and ``80-82/udp``.  Pure.

Callers check the bounds and the protocol and raise their own errors.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PROTOCOLS = ("tcp", "udp", "sctp")
HIGHEST = 65535
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/([A-Za-z0-9]+))?\Z", re.ASCII)


class ParsedPorts(NamedTuple):
    """A range of ports and its protocol."""

    first: int
    last: int
    protocol: str
    """As written; empty without one."""

    @property
    def in_bounds(self) -> bool:
        return 0 < self.first <= self.last <= HIGHEST


def parse(text: str) -> ParsedPorts | None:
    """Return the range in *text*, whose numbers have at most five digits; None for text of another form."""
    found = _RANGE.match(text)
    if found is None:
        return None
    return ParsedPorts(int(found[1]), int(found[2] or found[1]), found[3] or "")


def bounds(text: str) -> tuple[int, int]:
    """Return first and last number of ``80`` or ``80-82``.  Raises ValueError for text of another form."""
    first, _, last = text.partition("-")
    return int(first), int(last or first)
