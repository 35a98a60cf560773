"""Answers of others, kept for as long as they say they hold.

A reply is kept for exactly the query it answers, byte for byte but for the id, flags and EDNS included, so it is
given back as it came, but for its TTLs, which have gone down.  What is no answer (SERVFAIL, TC, no SOA) is not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from netd.dns.messages.message import HEADER, question_end
from netd.dns.messages.rr_scan import RecordPosition, RecordType, records

MOST_BYTES = 2 << 20
MOST_ENTRIES = 4096
LONGEST = 3600
"""Seconds for which an answer is kept at most, however long it says that it holds."""
_ENTRY = MOST_BYTES // MOST_ENTRIES
_CUT = 0x02
_NOERROR, _NXDOMAIN = 0, 3
_PLAIN_OPT = 11
"""Bytes of an OPT record without options."""


@dataclass(frozen=True, slots=True)
class _Entry:
    reply: bytes
    """Without its id."""
    places: tuple[int, ...]
    """Of the TTLs in it."""
    since: float
    until: float
    size: int
    owner: str
    """The container that asked first."""


class Cache:
    """Bounded; of the container with the most in it, what came first goes first.  Times are monotonic seconds."""

    def __init__(self, most_entries: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES) -> None:
        self._entries: dict[Hashable, _Entry] = {}
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._bytes = 0
        self._owned: dict[str, dict[Hashable, None]] = {}
        """Container → what it asked for first, the oldest first."""
        self._weights: Counter[str] = Counter()
        """Container → what that costs; an entry weighs something besides its bytes."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, now: float) -> bytes | None:
        """Return the reply without its id, with what is left of its TTLs."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.until:
            self._drop(key)
            return None
        return _aged(entry, int(now - entry.since))

    def put(self, key: Hashable, query: bytes, reply: bytes, now: float, owner: str = "") -> None:
        """Keep the *reply* to a *query*, both without their ids, if it may be kept; *owner* is who asked."""
        if not is_plain(query) or (found := lifetime(reply)) is None:
            return
        seconds, places = found
        if key in self._entries:
            self._drop(key)
        size = len(query) + len(reply)
        self._entries[key] = _Entry(reply, places, now, now + min(seconds, LONGEST), size, owner)
        self._owned.setdefault(owner, {})[key] = None
        self._weights[owner] += size + _ENTRY
        self._bytes += size
        while len(self._entries) > self._most_entries or self._bytes > self._most_bytes:
            heaviest = max(self._weights, key=self._weights.__getitem__)
            self._drop(next(iter(self._owned[heaviest])))

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key)
        self._bytes -= entry.size
        self._weights[entry.owner] -= entry.size + _ENTRY
        owned = self._owned[entry.owner]
        del owned[key]
        if not owned:
            del self._owned[entry.owner], self._weights[entry.owner]


def _aged(entry: _Entry, seconds: int) -> bytes:
    if not seconds:
        return entry.reply
    reply = bytearray(entry.reply)
    for at in entry.places:
        left = int.from_bytes(reply[at : at + 4]) - seconds
        reply[at : at + 4] = max(0, left).to_bytes(4)
    return bytes(reply)


def is_plain(query: bytes) -> bool:
    """Whether the same query, here without its id, is likely to come again: EDNS options, as cookies, are often new."""
    end = question_end(b"\0\0" + query) - 2
    return len(query) == end or (len(query) == end + _PLAIN_OPT and query[end : end + 3] == b"\0\0\x29")


def lifetime(reply: bytes) -> tuple[int, tuple[int, ...]] | None:
    """Return for how many seconds a reply, here without its id, holds, and where its TTLs are.

    None says that it may not be kept.  A denial holds for what its SOA record says (RFC 2308), without one it is not
    kept.
    """
    packet = b"\0\0" + reply
    if (
        len(packet) < HEADER
        or packet[4:6] != b"\0\1"
        or packet[2] & _CUT
        or packet[3] & 15 not in (_NOERROR, _NXDOMAIN)
    ):
        return None
    counts = [int.from_bytes(packet[at : at + 2]) for at in (6, 8, 10)]
    places = list(records(packet, question_end(packet), sum(counts)))
    if len(places) < sum(counts):
        return None
    denials = [place for place in places[counts[0] : counts[0] + counts[1]] if place.type == RecordType.SOA]
    if not denials and (not counts[0] or packet[3] & 15 == _NXDOMAIN):
        return None
    timed = [place for place in places if place.type != RecordType.OPT]
    seconds = min(_seconds(packet, place) for place in timed)
    seconds = min(seconds, *(int.from_bytes(packet[one.end - 4 : one.end]) for one in denials)) if denials else seconds
    return (seconds, tuple(place.ttl - 2 for place in timed)) if seconds > 0 else None


def _seconds(packet: bytes, place: RecordPosition) -> int:
    """Return a record's TTL; one with the highest bit set is none (RFC 2181)."""
    found = int.from_bytes(packet[place.ttl : place.ttl + 4])
    return 0 if found >> 31 else found
