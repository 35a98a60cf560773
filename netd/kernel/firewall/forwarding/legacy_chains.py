"""The chain FORWARD of the legacy table ``filter``: reading it, and netd's rule at its head.

Owns the rules with netd's comment in that chain.  Must not change another rule, chain or table, and never creates the
table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_network

from netd.common.addresses import FAMILIES, Family
from netd.kernel.firewall.forwarding.chains import COMMENT, UNKNOWN, ForeignRule, ForwardChain, Test
from netd.kernel.firewall.iptables import table_entries, table_info, tables
from netd.kernel.firewall.iptables.entry import ConnectionState, Rule
from netd.kernel.firewall.iptables.table_entries import Entry

_TABLE, _CHAIN = "filter", "FORWARD"
_DATA = 32
_TERMINATING = {"REJECT": "reject", "NFQUEUE": "queue"}
_STATES = {"established": ConnectionState.ESTABLISHED, "related": ConnectionState.RELATED, "new": ConnectionState.NEW}
_MATCH_STATE = 1
"""XT_CONNTRACK_STATE of linux/netfilter/xt_conntrack.h."""
_NOT_IN, _NOT_OUT, _NOT_SOURCE, _NOT_DESTINATION = 0x01, 0x02, 0x08, 0x10
_GOTO: dict[Family, int] = {4: 0x02, 6: 0x04}


def rule(bits: int) -> Rule:
    """Return netd's rule for packets with these bits of the mark."""
    return Rule(target="ACCEPT", marked=bits, comment=COMMENT)


def sizes() -> list[tuple[Family, table_info.Size]]:
    """Return the sizes of the existing tables."""
    found = ((family, _TABLE) for family in FAMILIES if _TABLE in table_info.existing(family))
    return [(family, table_info.size(family, table)) for family, table in found]


def read() -> list[ForwardChain]:
    """Return the chains with their rules.  Raises OSError, EAGAIN if a table changed meanwhile."""
    found = []
    for family, _ in sizes():
        chains = table_entries.read(family, _TABLE)
        if _CHAIN in chains:
            rules = {name: tuple(_rule(entry, family) for entry in chain.entries) for name, chain in chains.items()}
            policy = chains[_CHAIN].policy.lower()
            name = "ip" if family == 4 else "ip6"
            found.append(ForwardChain("iptables-legacy", name, _TABLE, _CHAIN, 0, policy, rules))
    return found


def insert(chain: ForwardChain, bits: int) -> None:
    """Add netd's rule at the head of the chain and delete its former rules there.  Raises KernelRefused."""
    _replace(chain, rule(bits))


def delete(chain: ForwardChain) -> None:
    """Delete netd's rules from the chain.  Raises KernelRefused."""
    _replace(chain, None)


def _replace(chain: ForwardChain, new: Rule | None) -> None:
    family: Family = 4 if chain.family == "ip" else 6
    tables.replace_commented(family, _TABLE, _CHAIN, COMMENT, new)


def _rule(entry: Entry, family: Family) -> ForeignRule:
    matches = list(_matches(entry.matches))
    own = any(name == "comment" and _text(data) == COMMENT for name, data in matches)
    tests = [*_header_tests(entry.header, family), *filter(None, (_test(name, data) for name, data in matches))]
    verdict, target = _verdict(entry, family)
    return ForeignRule(tuple(tests), verdict, target, 0, own)


def _verdict(entry: Entry, family: Family) -> tuple[str, str]:
    """Return the verdict, and the chain of a jump or goto."""
    if not entry.standard:
        return _TERMINATING.get(_text(entry.target[2:31]), ""), ""
    name = entry.target.decode()
    if name in ("ACCEPT", "DROP", "RETURN", "QUEUE", ""):
        return name.lower(), ""
    flags = entry.header[82] if family == 4 else entry.header[131]
    return "goto" if flags & _GOTO[family] else "jump", name


def _header_tests(header: bytes, family: Family) -> Iterator[Test]:
    """Yield the conditions in ``struct ipt_ip`` or ``struct ip6t_ip6``."""
    size = 4 if family == 4 else 16
    links = 4 * size
    protocol, inverted = (header[80], header[83]) if family == 4 else (header[128], header[132])
    for field, position, flag in (("saddr", 0, _NOT_SOURCE), ("daddr", size, _NOT_DESTINATION)):
        address, mask = header[position : position + size], header[position + 2 * size : position + 3 * size]
        if any(mask):
            yield _address_test(field, address, mask, negated=bool(inverted & flag))
    for field, position, flag in (("iifname", links, _NOT_IN), ("oifname", links + 16, _NOT_OUT)):
        name, mask = header[position : position + 16], header[position + 32 : position + 48]
        if any(mask):
            compared = name[: mask.count(0xFF)]  # With the final NUL, unless the name is a prefix.
            yield Test(field, (_text(compared) + ("" if b"\0" in compared else "*"),), bool(inverted & flag))
    if protocol:
        yield UNKNOWN


def _address_test(field: str, address: bytes, mask: bytes, *, negated: bool) -> Test:
    length = bin(int.from_bytes(mask)).count("1")
    if int.from_bytes(mask) != ((1 << length) - 1) << (8 * len(mask) - length):
        return UNKNOWN
    return Test(field, (ip_network((address, length), strict=False),), negated)


def _matches(blob: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and data of each match."""
    offset = 0
    while offset + _DATA <= len(blob):
        [size] = struct.unpack_from("=H", blob, offset)
        if size < _DATA:
            return
        yield _text(blob[offset + 2 : offset + 31]), blob[offset + _DATA : offset + size]
        offset += size


def _test(name: str, data: bytes) -> Test | None:
    match name:
        case "comment":
            return None
        case "mark":
            mark, mask, inverted = struct.unpack_from("=IIB", data)
            return Test("mark", ((mask, mark),), bool(inverted))
        case "conntrack" if len(data) >= 152:
            return _conntrack(struct.unpack_from("=8H", data, 136))
    return UNKNOWN


def _conntrack(words: tuple[int, ...]) -> Test:
    """Return the condition of ``struct xt_conntrack_mtinfo3``, if it is about states only."""
    matched, inverted, states = words[5:8]
    if matched != _MATCH_STATE:
        return UNKNOWN
    if states == ConnectionState.DNAT.value:
        return Test("status", ("dnat",), bool(inverted & _MATCH_STATE))
    return Test("state", tuple(name for name, bit in _STATES.items() if states & bit.value), bool(inverted & 1))


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode(errors="replace")
