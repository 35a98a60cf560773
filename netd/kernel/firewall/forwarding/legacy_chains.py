"""Chains of other programs in the legacy tables: reading them, and netd's rule at the head of ``filter FORWARD``.

Owns the rules with netd's comment in that chain.  Must not change another rule, chain or table, and never creates the
table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from netd.common.addresses import FAMILIES, Family
from netd.kernel.firewall.forwarding import extensions
from netd.kernel.firewall.forwarding.chains import COMMENT, UNKNOWN, ForeignRule, ForwardChain, Test
from netd.kernel.firewall.iptables import table_entries, table_info, tables
from netd.kernel.firewall.iptables.entry import Rule
from netd.kernel.firewall.iptables.table_entries import Entry

_TABLE, _CHAIN = "filter", "FORWARD"
_HOOKS = {"prerouting": "PREROUTING", "forward": _CHAIN, "postrouting": "POSTROUTING"}
_PRIORITIES = {
    ("raw", "PREROUTING"): -300,
    ("mangle", "PREROUTING"): -150,
    ("mangle", _CHAIN): -150,
    ("mangle", "POSTROUTING"): -150,
    ("nat", "PREROUTING"): -100,
    ("security", _CHAIN): 50,
    ("nat", "POSTROUTING"): 100,
}
"""NF_IP_PRI_* of linux/netfilter_ipv4.h; 0 for ``filter``."""
_DATA = 32
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
    """Return the chains FORWARD with their rules.  Raises OSError, EAGAIN if a table changed meanwhile."""
    return [chain for family, _ in sizes() for chain in _read(family, _TABLE)]


def read_passed(families: Iterable[Family]) -> list[ForwardChain]:
    """Return the chains of all tables that packets between ports of a bridge pass with br_netfilter.

    Raises OSError, EAGAIN if a table changed meanwhile.
    """
    return [chain for family in families for table in table_info.existing(family) for chain in _read(family, table)]


def _read(family: Family, table: str) -> Iterator[ForwardChain]:
    chains = table_entries.read(family, table)
    rules = {name: tuple(_rule(entry, family) for entry in chain.entries) for name, chain in chains.items()}
    for hook, name in _HOOKS.items():
        if name in chains:
            policy = chains[name].policy.lower()
            yield ForwardChain(
                "iptables-legacy",
                "ip" if family == 4 else "ip6",
                table,
                name,
                _PRIORITIES.get((table, name), 0),
                policy,
                {key: value for key, value in rules.items() if key == name or key not in _HOOKS.values()},
                hook,
            )


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
    own = any(match.name == "comment" and _text(match.data) == COMMENT for match in matches)
    tests = (*_header_tests(entry.header, family), *filter(None, map(extensions.condition, matches)))
    if not entry.standard:
        target = extensions.Extension(_text(entry.target[2:31]), entry.target[31], entry.target[_DATA:])
        found = extensions.effect(target, family)
        return ForeignRule(tests, found.verdict, own=own, effect=found.effect, leads_to=found.leads_to)
    verdict, name = _verdict(entry, family)
    return ForeignRule(tests, verdict, name, 0, own)


def _verdict(entry: Entry, family: Family) -> tuple[str, str]:
    """Return a standard verdict, and the chain of a jump or goto."""
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


def _matches(blob: bytes) -> Iterator[extensions.Extension]:
    offset = 0
    while offset + _DATA <= len(blob):
        [size] = struct.unpack_from("=H", blob, offset)
        if size < _DATA:
            return
        name, revision = _text(blob[offset + 2 : offset + 31]), blob[offset + 31]
        yield extensions.Extension(name, revision, blob[offset + _DATA : offset + size])
        offset += size


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode(errors="replace")
