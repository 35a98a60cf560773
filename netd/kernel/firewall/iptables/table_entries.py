"""Chains and rules of a legacy table, decoded from the kernel's copy without a lock and without python-iptables.

Changes nothing.  A table is read in one system call, which the kernel answers from one state of the table.  Counters
and the positions of jump targets are left out, so that equal rules are equal bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from netd.common.addresses import Family
from netd.kernel.firewall.iptables import table_info
from netd.kernel.firewall.iptables.entry import Rule, pack

HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
"""Names of the built-in chains in the order of the kernel's hook numbers."""
HEADER: dict[Family, int] = {4: 84, 6: 136}
"""Bytes of ``struct ipt_ip`` and ``struct ip6t_ip6``."""
ENTRY: dict[Family, int] = {4: 112, 6: 168}
"""Bytes of ``struct ipt_entry`` and ``struct ip6t_entry`` without matches and target."""
_OFFSETS = struct.Struct("=4xHH")
"""After the header: nfcache, the offset of the target, the size of the entry."""
_DATA, _NAME_BYTES = 32, 30
"""The position of the data in ``struct xt_entry_target``, after size, name and revision; the length of names."""
_VERDICTS = {-1: "DROP", -2: "ACCEPT", -4: "QUEUE", -5: "RETURN"}
_VERDICT = struct.Struct("=i")
_ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule; equal for equal rules, whatever their counters and positions."""

    header: bytes
    matches: bytes
    target: bytes
    """Name of a standard verdict or of a chain, or ``struct xt_entry_target`` of an extension."""
    standard: bool
    """Whether ``target`` is the name of a verdict or of a chain."""


@dataclass(slots=True)
class Chain:
    entries: list[Entry] = field(default_factory=list)
    policy: str = ""
    """ACCEPT or DROP; empty for chains that are not built in."""


def read(family: Family, table: str) -> dict[str, Chain]:
    """Return the chains of an existing table.  Raises OSError, with EAGAIN if the table changed during the call."""
    return decode(family, *table_info.contents(family, table))


def decode(family: Family, info: table_info.Info, blob: bytes) -> dict[str, Chain]:
    """Return the chains in the entries of a table."""
    raw = list(_raw_entries(family, blob))
    heads = {offset: _error_name(blob, offset + target) for offset, target, _ in raw}
    firsts = {offset + size: name for offset, _, size in raw if (name := heads[offset])}
    starts = {info.hooks[number]: HOOKS[number] for number in info.builtin}
    ends = {info.underflows[number] for number in info.builtin}
    chains: dict[str, Chain] = {}
    chain = Chain()
    for offset, target, size in raw:
        if name := heads[offset] or starts.get(offset, ""):
            chain = chains.setdefault(name, Chain())
        if not heads[offset]:
            entry = _entry(family, blob[offset : offset + size], target, firsts)
            if offset in ends:
                chain.policy = entry.target.decode()
            else:
                chain.entries.append(entry)
    chains.pop(_ERROR, None)  # It ends the table.
    for chain in chains.values():
        if not chain.policy:
            del chain.entries[-1:]  # The return to the calling chain.
    return chains


def expected(rules: Iterable[Rule], family: Family) -> list[Entry]:
    """Return the entries that :func:`read` finds for rules that netd has written."""
    return [_expected(rule, family) for rule in rules]


@lru_cache(1 << 14)
def _expected(rule: Rule, family: Family) -> Entry:
    entry = pack(rule, family)
    target, _ = _OFFSETS.unpack_from(entry, HEADER[family])
    name = rule.target if isinstance(rule.target, str) else ""
    return Entry(entry[: HEADER[family]], entry[ENTRY[family] : target], name.encode() or entry[target:], bool(name))


def digest(entries: Iterable[Entry]) -> bytes:
    """Return a digest of the rules of a chain, in their order."""
    found = hashlib.blake2b(digest_size=16)
    for entry in entries:
        found.update(b"%d %d %d " % (len(entry.matches), len(entry.target), entry.standard))
        found.update(entry.header + entry.matches + entry.target)
    return found.digest()


def _raw_entries(family: Family, blob: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the offset of each entry in the table, the offset of its target in the entry, and its size."""
    offset = 0
    while offset + ENTRY[family] <= len(blob):
        target, size = _OFFSETS.unpack_from(blob, offset + HEADER[family])
        if size < ENTRY[family]:
            return
        yield offset, target, size
        offset += size


def _error_name(blob: bytes, target: int) -> str:
    """Return the name of the chain that the entry begins, from its target ERROR; "" for rules."""
    if blob[target + 2 : target + 8] != b"ERROR\0":
        return ""
    return _text(blob[target + _DATA : target + _DATA + _NAME_BYTES])


def _entry(family: Family, entry: bytes, target: int, firsts: Mapping[int, str]) -> Entry:
    header, matches = entry[: HEADER[family]], entry[ENTRY[family] : target]
    if entry[target + 2]:
        return Entry(header, matches, entry[target:], standard=False)
    [verdict] = _VERDICT.unpack_from(entry, target + _DATA)
    # A rule without a target continues with the next rule, at an offset that begins no chain.
    name = _VERDICTS.get(verdict, "") if verdict < 0 else firsts.get(verdict, "")
    return Entry(header, matches, name.encode(), standard=True)


def _text(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode(errors="replace")
