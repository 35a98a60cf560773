"""The cache of upstream responses, for the time of their TTLs.

The key has all bytes of the query except its id: the flags and EDNS too.  So a response is returned as it was
received, with reduced TTLs.  Responses that are not answers (SERVFAIL, TC, denial without SOA) are not stored.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import TypeAlias

from netd.dns.messages.message import HEADER, PLAIN_OPT, question_end
from netd.dns.messages.rr_scan import RecordPosition, RecordType, all_records

MAX_BYTES = 2 << 20
MAX_ENTRIES = 4096
MAX_TTL = 3600
"""Seconds; upper limit of the time for which a response is stored."""
_ENTRY = MAX_BYTES // MAX_ENTRIES
_EVICTIONS = 16
_NO_LIMIT = 1 << 31
"""Seconds; more than any TTL."""
_TRUNCATED = 0x02
_NOERROR, _NXDOMAIN = 0, 3


class _Owner:
    """A sandbox that sent the first query of entries."""

    __slots__ = ("keys", "name", "weight")

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys: OrderedDict[Hashable, None] = OrderedDict()
        """Keys of its entries, the oldest first."""
        self.weight = 0
        """Bytes of its entries, with a fixed amount per entry."""


_Entry: TypeAlias = "tuple[bytes, tuple[int, ...], float, float, int, _Owner]"
"""The response without its id, the offsets of its TTLs, from when and until when it is valid, its size, its owner."""


class Cache:
    """Limited in entries and bytes; evicts the oldest entry of the sandbox with the most.  Times: monotonic seconds."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._entries: dict[Hashable, _Entry] = {}
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._owners: dict[str, _Owner] = {}
        self._heaviest: _Owner | None = None
        self._evictions = 0
        """Evictions from the heaviest sandbox since it was determined."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, now: float) -> bytes | None:
        """Return the response without its id, with the remaining TTLs."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        reply, ttl_offsets, since, until, _, _ = entry
        if now >= until:
            self._drop(key)
            return None
        return _aged(reply, ttl_offsets, int(now - since))

    def put(
        self,
        key: Hashable,
        query: bytes,
        reply: bytes,
        now: float,
        owner: str = "",
        positions: Sequence[RecordPosition] | None = None,
        is_plain: bool = False,
    ) -> None:
        """Store the *reply* to a *query*, both without their ids, if it is cacheable; *owner* is the sandbox.

        *positions* are those of the reply's records, if the caller knows them, in the reply with its id.
        *is_plain*: the query is known to have at most an OPT record without options.
        """
        if not (is_plain or is_cacheable_query(query)) or (found := lifetime(reply, positions)) is None:
            return
        seconds, ttl_offsets = found
        self.store(key, len(query), reply, seconds, ttl_offsets, now, owner)

    def store(
        self,
        key: Hashable,
        query_size: int,
        reply: bytes,
        seconds: int,
        ttl_offsets: tuple[int, ...],
        now: float,
        owner: str,
    ) -> None:
        """Store a *reply* without id that is valid for *seconds*; *ttl_offsets* are those of its TTLs."""
        if key in self._entries:
            self._drop(key)
        share = self._owners.get(owner)
        if share is None:
            share = self._owners[owner] = _Owner(owner)
        size = query_size + len(reply)
        until = now + (seconds if seconds < MAX_TTL else MAX_TTL)
        self._entries[key] = (reply, ttl_offsets, now, until, size, share)
        share.keys[key] = None
        share.weight += size + _ENTRY
        self._bytes += size
        if len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._evict()
            while self._bytes > self._max_bytes:
                self._evict()

    def _evict(self) -> None:
        """Drop the oldest entry of the heaviest sandbox, which is determined anew every few evictions."""
        self._evictions += 1
        heaviest = self._heaviest
        if heaviest is None or not heaviest.keys or self._evictions >= _EVICTIONS + len(self._owners) // _EVICTIONS:
            self._evictions = 0
            heaviest = self._heaviest = max(self._owners.values(), key=lambda owner: owner.weight)
        self._drop(next(iter(heaviest.keys)))

    def _drop(self, key: Hashable) -> None:
        _, _, _, _, size, owner = self._entries.pop(key)
        self._bytes -= size
        owner.weight -= size + _ENTRY
        del owner.keys[key]
        if not owner.keys:
            del self._owners[owner.name]


def _aged(reply: bytes, ttl_offsets: tuple[int, ...], seconds: int) -> bytes:
    if not seconds:
        return reply
    aged = bytearray(reply)
    for at in ttl_offsets:
        left = int.from_bytes(aged[at : at + 4]) - seconds
        aged[at : at + 4] = max(0, left).to_bytes(4)
    return bytes(aged)


def is_cacheable_query(query: bytes) -> bool:
    """Return True if *query* (without its id) has no EDNS options: options such as cookies differ in each query."""
    end = question_end(b"\0\0" + query) - 2
    return len(query) == end or (len(query) == end + PLAIN_OPT and query[end : end + 3] == b"\0\0\x29")


def lifetime(reply: bytes, positions: Sequence[RecordPosition] | None = None) -> tuple[int, tuple[int, ...]] | None:
    """Return for how many seconds a response, without its id, is valid, and the offsets of its TTLs.

    None if it is not cacheable.  A denial is valid for the minimum of its SOA record (RFC 2308); without an SOA it is
    not cacheable.  *positions*: as in ``Cache.put``.
    """
    packet = b"\0\0" + reply
    if len(packet) < HEADER or packet[4:6] != b"\0\1" or packet[2] & _TRUNCATED:
        return None
    code, answers = packet[3] & 15, int.from_bytes(packet[6:8])
    if code not in (_NOERROR, _NXDOMAIN):
        return None
    if positions is None and (positions := all_records(packet, question_end(packet))) is None:
        return None
    seconds = _NO_LIMIT
    offsets = []
    is_denial = not answers or code == _NXDOMAIN
    authority = answers + int.from_bytes(packet[8:10])
    for at, record in enumerate(positions):
        if record.type == RecordType.OPT:
            continue
        offsets.append(record.ttl - 2)
        seconds = min(seconds, _seconds(packet, record))
        if record.type == RecordType.SOA and answers <= at < authority:
            is_denial = False
            seconds = min(seconds, int.from_bytes(packet[record.end - 4 : record.end]))
    return (seconds, tuple(offsets)) if offsets and seconds > 0 and not is_denial else None


def _seconds(packet: bytes, record: RecordPosition) -> int:
    """Return a record's TTL; 0 for one with the highest bit set (RFC 2181)."""
    found = int.from_bytes(packet[record.ttl : record.ttl + 4])
    return 0 if found >> 31 else found
