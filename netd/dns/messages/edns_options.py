"""EDNS in messages that are forwarded: options of one hop, and messages without EDNS.  Pure.

Cookies (RFC 7873), keepalive (RFC 7828) and padding (RFC 7830) concern the two ends of one transport.  They are neither
forwarded nor passed on.  Other options are.
"""

from __future__ import annotations

from collections.abc import Iterator

from netd.dns.messages.message import HEADER, question_end
from netd.dns.messages.rr_scan import RecordPosition, RecordType, records

_OF_ONE_HOP = (10, 11, 12)
_HEAD = 4
"""Bytes of an option's code and length."""
_FIXED_OPT = 11
"""Bytes of an OPT record before its options: root name, type, size, flags, RDLENGTH."""
_POINTER = 0xC0
_WITHOUT_NAMES = (1, 28, 16)
"""A, AAAA and TXT: record types whose data contains no compressed name."""


def without_hop_options(packet: bytes) -> bytes:
    """Return a message, id included, without the options of one hop; the same message if it has none.

    The message is unchanged too if it is malformed, or if signed data follows (TSIG), which a change would invalidate.
    """
    if packet[6:12] == bytes(6):
        return packet
    opt, later = _opt(packet)
    if opt is None:
        return packet
    start = opt.ttl + 6
    kept = b"".join(_kept_options(packet[start : opt.end]))
    if len(kept) == opt.end - start:
        return packet
    return _replaced(packet, start - 2, opt.end, len(kept).to_bytes(2) + kept, later)


def without_edns(packet: bytes) -> bytes | None:
    """Return a query, id included, without its OPT record; None if it has none or other records follow it."""
    opt, later = _opt(packet)
    if opt is None or later:
        return None
    count = int.from_bytes(packet[10:12]) - 1
    return packet[:10] + count.to_bytes(2) + packet[12 : opt.ttl + 6 - _FIXED_OPT]


def has_edns(packet: bytes) -> bool:
    """Return whether a message, id included, has an OPT record."""
    return _opt(packet)[0] is not None


def _opt(packet: bytes) -> tuple[RecordPosition | None, list[RecordPosition]]:
    """Return the OPT record, and the records after it."""
    end = question_end(packet)
    if end > len(packet) or packet[4:6] != b"\0\1":
        return None, []
    count = sum(int.from_bytes(packet[at : at + 2]) for at in (6, 8, 10))
    if not count or len(packet) < HEADER:
        return None, []
    found = list(records(packet, end, count))
    position = next((at for at, record in enumerate(found) if record.type == RecordType.OPT), None)
    if position is None or len(found) != count:
        return None, []
    return found[position], found[position + 1 :]


def _kept_options(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + _HEAD + int.from_bytes(data[at + 2 : at + _HEAD])
        if end > len(data) or int.from_bytes(data[at : at + 2]) not in _OF_ONE_HOP:
            yield data[at:end]
        at = end


def _replaced(packet: bytes, start: int, end: int, new: bytes, later: list[RecordPosition]) -> bytes:
    """Replace the bytes from *start* to *end*; names of *later* records that point behind them are corrected."""
    if any(record.type not in _WITHOUT_NAMES for record in later):
        return packet
    shift = end - start - len(new)
    result = bytearray(packet)
    at = end
    for record in later:
        while 0 < result[at] < _POINTER:
            at += result[at] + 1
        target = int.from_bytes(result[at : at + 2]) & 0x3FFF
        if result[at] >= _POINTER and target >= end:
            result[at : at + 2] = (0xC000 | target - shift).to_bytes(2)
        at = record.end
    result[start:end] = new
    return bytes(result)
