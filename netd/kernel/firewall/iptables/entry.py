"""A rule of the legacy tables as a value, and as the bytes of ``struct ipt_entry`` or ``ip6t_entry``.

Pure.  The layouts are those of the kernel's ``linux/netfilter*/`` headers.  python-iptables can build the bytes too,
but redirects the process's standard output while it does, and leaves Python frames by longjmp on errors.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Flag
from functools import lru_cache
from typing import Final, TypeAlias

from netd.common.addresses import Address, Family, Subnet

PROTOCOLS: Final = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
_NAME = 16
_GOTO: dict[Family, int] = {4: 0x02, 6: 0x04}
_HAS_PROTOCOL: dict[Family, int] = {4: 0, 6: 0x01}
_NOT_INCOMING, _NOT_OUTGOING, _NOT_SOURCE, _NOT_DESTINATION = 0x01, 0x02, 0x08, 0x10
_LOCAL = 1 << 2
_MAP_ADDRESSES, _MAP_PORTS, _MAP_OFFSET = 1, 2, 32
_SYN_OR_RST, _SYN = 0x06, 0x02
_NOTRACK = 1
"""XT_CT_NOTRACK of linux/netfilter/xt_CT.h."""
_CLAMP_PMTU = 0xFFFF
"""XT_TCPMSS_CLAMP_PMTU of linux/netfilter/xt_TCPMSS.h."""


class ConnectionState(Flag):
    """Conntrack states that a rule matches (the kernel's ``XT_CONNTRACK_STATE_*``)."""

    INVALID = 1 << 0
    ESTABLISHED = 1 << 1
    RELATED = 1 << 2
    NEW = 1 << 3
    DNAT = 1 << 7
    UNTRACKED = 1 << 8


@dataclass(frozen=True, slots=True)
class Dnat:
    """Translate the destination to ``address`` and ``port``; None keeps the port.

    A range of ``count`` ports from ``base`` on is mapped in order to those from ``port`` on.
    """

    address: Address
    port: int | None = None
    count: int = 1
    base: int = 0
    """The first port of the range before translation; ignored without a range."""


@dataclass(frozen=True, slots=True)
class Snat:
    source: Address
    ports: tuple[int, int] | None = None
    """First and last source port; None keeps the port where possible."""


@dataclass(frozen=True, slots=True)
class Masquerade:
    ports: tuple[int, int] | None = None
    """As ``Snat.ports``."""


@dataclass(frozen=True, slots=True)
class ClampMss:
    """Lower the MSS to what the path MTU allows; only in rules with ``syn``."""


@dataclass(frozen=True, slots=True)
class Tee:
    """Send a copy of the packet by ``link`` to ``next_hop``; the packet itself continues."""

    next_hop: Address
    link: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Set these bits of the packet mark, or *clear* them."""

    bits: int
    clear: bool = False


@dataclass(frozen=True, slots=True)
class Notrack:
    """Exempt the packet from connection tracking; only in the table raw."""


Target: TypeAlias = str | Dnat | Snat | Masquerade | ClampMss | Tee | Mark | Notrack
"""ACCEPT, DROP, RETURN, the name of a chain, or an extension target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A target and its matches; a packet must satisfy all of them."""

    target: Target
    goto: bool = False
    """Do not return from the target chain (``--goto``)."""
    incoming: str = ""
    """The name of a link; a final + matches every name with that prefix."""
    not_incoming: bool = False
    outgoing: str = ""
    not_outgoing: bool = False
    source: Subnet | None = None
    not_source: bool = False
    destination: Subnet | None = None
    not_destination: bool = False
    protocol: str = ""
    ports: tuple[int, int] | None = None
    """First and last destination port."""
    source_ports: tuple[int, int] | None = None
    """First and last source port; not together with ``ports``."""
    state: ConnectionState | None = None
    to_host: bool = False
    """Match only packets to addresses of the host (addrtype LOCAL)."""
    syn: bool = False
    ping: bool = False
    marked: int = 0
    """Match only packets with these bits of the mark."""
    comment: str = ""
    """Matches every packet; listings show it."""


@lru_cache(1 << 14)
def pack(rule: Rule, family: Family) -> bytes:
    """Return the rule as ``struct ipt_entry`` or ``ip6t_entry`` with its matches and target."""
    matches = b"".join(_matches(rule, family))
    target = _target(rule.target, family)
    header = _header(rule, family)
    body = 28 if family == 4 else 32
    start = len(header) + body
    offsets = struct.pack("<IHHI", 0, start + len(matches), start + len(matches) + len(target), 0)
    return header + offsets.ljust(body, b"\0") + matches + target


def _header(rule: Rule, family: Family) -> bytes:
    source, source_mask = _subnet(rule.source, family)
    destination, destination_mask = _subnet(rule.destination, family)
    incoming, incoming_mask = _link(rule.incoming)
    outgoing, outgoing_mask = _link(rule.outgoing)
    number = PROTOCOLS.get(rule.protocol, 0)
    flags = (_GOTO[family] if rule.goto else 0) | (_HAS_PROTOCOL[family] if number else 0)
    inverted = (
        rule.not_incoming * _NOT_INCOMING
        | rule.not_outgoing * _NOT_OUTGOING
        | rule.not_source * _NOT_SOURCE
        | rule.not_destination * _NOT_DESTINATION
    )
    addresses = source + destination + source_mask + destination_mask
    links = incoming + outgoing + incoming_mask + outgoing_mask
    if family == 4:
        return addresses + links + struct.pack("<HBB", number, flags, inverted)
    return addresses + links + struct.pack("<HBBBxxx", number, 0, flags, inverted)


@lru_cache(1024)
def _subnet(subnet: Subnet | None, family: Family) -> tuple[bytes, bytes]:
    if subnet is None:
        any_address = bytes(4 if family == 4 else 16)
        return any_address, any_address
    return subnet.network_address.packed, subnet.netmask.packed


@lru_cache(1024)
def _link(name: str) -> tuple[bytes, bytes]:
    if not name:
        return bytes(_NAME), bytes(_NAME)
    whole = name.removesuffix("+").encode()
    compared = len(whole) + (not name.endswith("+"))
    return whole.ljust(_NAME, b"\0"), (b"\xff" * compared).ljust(_NAME, b"\0")


def _matches(rule: Rule, family: Family) -> list[bytes]:
    found = []
    if rule.ports or rule.source_ports or rule.syn:
        found.append(_ports(rule))
    if rule.ping:
        found.append(_extension("icmp", 0, b"\x08\x00\xff\0") if family == 4 else _ping6())
    if rule.to_host:
        found.append(_extension("addrtype", 1, struct.pack("<HHI", 0, _LOCAL, 0)))
    if rule.state is not None:
        found.append(_conntrack(rule.state))
    if rule.marked:
        found.append(_extension("mark", 1, struct.pack("<IIB", rule.marked, rule.marked, 0)))
    if rule.comment:
        found.append(_extension("comment", 0, rule.comment.encode().ljust(256, b"\0")))
    return found


def _ping6() -> bytes:
    return _extension("icmp6", 0, b"\x80\x00\xff\0")


def _ports(rule: Rule) -> bytes:
    source, destination = rule.source_ports or (0, 0xFFFF), rule.ports or (0, 0xFFFF)
    if rule.protocol == "tcp":
        flags = (_SYN_OR_RST, _SYN) if rule.syn else (0, 0)
        return _extension("tcp", 0, struct.pack("<HHHHBBBB", *source, *destination, 0, *flags, 0))
    if rule.protocol == "udp":
        return _extension("udp", 0, struct.pack("<HHHHBx", *source, *destination, 0))
    first, last = rule.source_ports or destination
    numbers = (first,) if first == last else (first, last)
    listed = struct.pack("<15H", *numbers, *(0 for _ in range(15 - len(numbers))))
    ranges = bytes([len(numbers) - 1]).ljust(15, b"\0")
    return _extension("multiport", 1, bytes([0 if rule.source_ports else 1, len(numbers)]) + listed + ranges + b"\0")


@lru_cache
def _conntrack(state: ConnectionState) -> bytes:
    """Return a match with ``struct xt_conntrack_mtinfo3``, of which only the states are set."""
    words = struct.pack("<13H", 0, 0, 0, 0, 0, 1, 0, state.value, 0, 0, 0, 0, 0)
    return _extension("conntrack", 3, bytes(136) + words)


def _target(target: Target, family: Family) -> bytes:
    match target:
        case str():
            return _extension(target, 0, bytes(4))
        case Dnat():
            return _extension("DNAT", 2, _dnat(target))
        case Snat(source, ports):
            # The revisions that iptables-restore knows: struct nf_nat_ipv4_multi_range_compat with one range, and
            # struct nf_nat_range.
            flags, span = _MAP_ADDRESSES | (_MAP_PORTS if ports else 0), struct.pack(">HH", *(ports or (0, 0)))
            if family == 4:
                return _extension("SNAT", 0, struct.pack("<II", 1, flags) + source.packed * 2 + span)
            return _extension("SNAT", 1, struct.pack("<I", flags) + source.packed * 2 + span)
        case Masquerade(ports) if family == 4:
            # struct nf_nat_ipv4_multi_range_compat with one range: flags, two addresses, two ports.
            flags, span = _MAP_PORTS if ports else 0, struct.pack(">HH", *(ports or (0, 0)))
            return _extension("MASQUERADE", 0, struct.pack("<II", 1, flags) + bytes(8) + span)
        case Masquerade(ports):
            # struct nf_nat_range: flags, two addresses of 16 bytes, two ports.
            flags, span = _MAP_PORTS if ports else 0, struct.pack(">HH", *(ports or (0, 0)))
            return _extension("MASQUERADE", 0, struct.pack("<I", flags) + bytes(32) + span)
        case _:
            return _without_translation(target)


def _without_translation(target: Tee | Mark | Notrack | ClampMss) -> bytes:
    match target:
        case Tee(next_hop, link):
            return _extension("TEE", 1, _sixteen_bytes(next_hop) + link.encode().ljust(_NAME, b"\0") + bytes(8))
        case Mark(bits, clear):
            return _extension("MARK", 2, struct.pack("<II", 0 if clear else bits, bits))
        case Notrack():
            # struct xt_ct_target_info_v1: flags, zone, events, helper, timeout, and a pointer of the kernel's.
            return _extension("CT", 2, struct.pack("<H", _NOTRACK).ljust(72, b"\0"))
        case ClampMss():
            return _extension("TCPMSS", 0, struct.pack("<H", _CLAMP_PMTU))


def _dnat(target: Dnat) -> bytes:
    """Return a ``struct nf_nat_range2``."""
    addresses = _sixteen_bytes(target.address) * 2
    if target.port is None:
        return struct.pack("<I", _MAP_ADDRESSES) + addresses + bytes(8)
    flags = _MAP_ADDRESSES | _MAP_PORTS | (_MAP_OFFSET if target.count > 1 else 0)
    ports = struct.pack(">HHHxx", target.port, target.port + target.count - 1, target.base if target.count > 1 else 0)
    return struct.pack("<I", flags) + addresses + ports


def _sixteen_bytes(address: Address) -> bytes:
    return address.packed.ljust(16, b"\0")


def _extension(name: str, revision: int, data: bytes) -> bytes:
    """Return a match or target: size, name and revision, then its data, padded to a multiple of eight bytes."""
    size = (32 + len(data) + 7) & ~7
    return struct.pack("<H29sB", size, name.encode(), revision) + data.ljust(size - 32, b"\0")
