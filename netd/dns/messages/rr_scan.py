"""Walking over the records of a message without reading what is in them.

It follows no compression pointers, so it costs what the message is long, whatever is in it.  A pointer that does not
lead back, as all that are of use do, ends the message: whoever follows it may never get out of a loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

_POINTER = 0xC0
_LABEL = 0x40
"""Labels are shorter."""
_FIXED = 10
"""Bytes of type, class, TTL and length."""


class RecordType(IntEnum):
    """The record types that say something about the message itself."""

    SOA = 6
    OPT = 41


class RecordPosition(NamedTuple):
    """Where a record is."""

    type: int
    ttl: int
    """Where its TTL begins."""
    end: int


def records(packet: bytes, at: int, count: int) -> Iterator[RecordPosition]:
    """Yield *count* records from *at* on, fewer when the packet ends before."""
    for _ in range(count):
        at = _after_name(packet, at)
        begin = at + _FIXED
        if begin > len(packet):
            return
        end = begin + int.from_bytes(packet[begin - 2 : begin])
        if end > len(packet):
            return
        yield RecordPosition(int.from_bytes(packet[at : at + 2]), at + 4, end)
        at = end


def _after_name(packet: bytes, at: int) -> int:
    """Return where a name ends, beyond the packet when it does not."""
    while at < len(packet):
        size = packet[at]
        if size >= _POINTER and _leads_back(packet, at):
            return at + 2
        if size >= _LABEL:
            break
        at += size + 1
        if not size:
            return at
    return len(packet) + 1


def _leads_back(packet: bytes, at: int) -> bool:
    return int.from_bytes(packet[at : at + 2]) & 0x3FFF < at and at + 1 < len(packet)
