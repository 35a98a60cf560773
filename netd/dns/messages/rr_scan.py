"""Positions of the resource records of a message, without parsing their data.

The scan follows no compression pointers, so its cost depends on the length of the message only.  It ends at a pointer
that does not point backwards: a parser that follows such a pointer may loop without end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

_POINTER = 0xC0
_LABEL = 0x40
"""Lengths of labels are below this."""
_FIXED = 10
"""Bytes of type, class, TTL and RDLENGTH."""
_fixed = struct.Struct("!HHIH").unpack_from
_NO_LIMIT = 1 << 31
"""Seconds; more than any TTL."""


class RecordType(IntEnum):
    """The record types that the server treats specially in messages."""

    SOA = 6
    OPT = 41


_SOA, _OPT = int(RecordType.SOA), int(RecordType.OPT)


class RecordPosition(NamedTuple):
    """The position of a record in a message."""

    type: int
    ttl: int
    """Offset of its TTL."""
    end: int


def records(packet: bytes, at: int, count: int) -> Iterator[RecordPosition]:
    """Yield *count* records from offset *at* on; fewer if the packet ends before or is malformed."""
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


def all_records(packet: bytes, at: int) -> list[RecordPosition] | None:
    """Return all records of a message, which begin at offset *at*; None if some are missing or malformed."""
    answers, authority, additional = struct.unpack_from("!3H", packet, 6)
    count = answers + authority + additional
    found = []
    size = len(packet)
    try:
        for _ in range(count):
            # The owner name of most records is a pointer to the question.
            at = at + 2 if packet[at] == _POINTER and packet[at + 1] < at else _after_name(packet, at)
            kind, length = packet[at] << 8 | packet[at + 1], packet[at + 8] << 8 | packet[at + 9]
            end = at + _FIXED + length
            if end > size:
                return None
            found.append(RecordPosition(kind, at + 4, end))
            at = end
    except IndexError:
        return None
    return found


def plain_answer(packet: bytes, at: int) -> tuple[int, tuple[int, ...]] | None:
    """Return the lowest TTL of a response with answers, and the offsets of its TTLs, both without the id.

    Records begin at offset *at*.  None for a response without answers, with missing or malformed records, with an SOA
    record, or with an OPT record that has options or an extended code.
    """
    answers, authority, additional = struct.unpack_from("!3H", packet, 6)
    seconds, offsets, size = _NO_LIMIT, [], len(packet)
    try:
        for _ in range(answers + authority + additional):
            at = at + 2 if packet[at] == _POINTER and packet[at + 1] < at else _after_name(packet, at)
            kind, _, ttl, length = _fixed(packet, at)
            if kind == _OPT:
                if length or ttl >> 24:
                    return None
            elif kind == _SOA:
                return None
            else:
                offsets.append(at + 2)
                if ttl < seconds or ttl >= _NO_LIMIT:
                    seconds = ttl if ttl < _NO_LIMIT else 0
            at += _FIXED + length
            if at > size:
                return None
    except (IndexError, struct.error):
        return None
    return (seconds, tuple(offsets)) if answers and offsets else None


def _after_name(packet: bytes, at: int) -> int:
    """Return the offset after a name; an offset beyond the packet if the name is malformed."""
    while at < len(packet):
        size = packet[at]
        if size >= _POINTER and _points_backwards(packet, at):
            return at + 2
        if size >= _LABEL:
            break
        at += size + 1
        if not size:
            return at
    return len(packet) + 1


def _points_backwards(packet: bytes, at: int) -> bool:
    return int.from_bytes(packet[at : at + 2]) & 0x3FFF < at and at + 1 < len(packet)
