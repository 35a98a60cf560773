"""A rule of the legacy tables as a value, and as the bytes that the kernel takes.

Pure.  The layouts are those of the kernel's ``linux/netfilter*/`` headers.  python-iptables could make the
bytes too, but its way redirects the whole process's standard output and jumps out of Python's frames on errors.
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
_BRIDGED = 0x04
_TO_THE_PATHS = 0xFFFF


class ConnectionState(Flag):
    """What connection tracking says of a packet (the kernel's ``XT_CONNTRACK_STATE_*``)."""

    ESTABLISHED = 1 << 1
    RELATED = 1 << 2
    NEW = 1 << 3
    DNAT = 1 << 7


@dataclass(frozen=True, slots=True)
class Dnat:
    """Lead to ``target``: to its port ``port``, or with none to the same; a range that moves keeps its order."""

    target: Address
    port: int | None = None
    count: int = 1
    base: int = 0
    """The number that comes in for ``port``; only of ranges."""


@dataclass(frozen=True, slots=True)
class Snat:
    source: Address


@dataclass(frozen=True, slots=True)
class Masquerade:
    pass


@dataclass(frozen=True, slots=True)
class ClampMss:
    """To what the path takes; only of rules for SYN packets."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Send a copy by way of a link, as if to ``next_hop``; the packet itself goes on."""

    next_hop: Address
    link: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Set these bits of the packet's mark."""

    bits: int


Then: TypeAlias = str | Dnat | Snat | Masquerade | ClampMss | Copy | Mark
"""ACCEPT, DROP, RETURN, the name of a chain, or one of the targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """All that is given must hold."""

    then: Then
    goto: bool = False
    """Do not come back from the chain."""
    incoming: str = ""
    """A link's name; one that ends in + stands for all that begin so."""
    not_incoming: bool = False
    outgoing: str = ""
    not_outgoing: bool = False
    source: Subnet | None = None
    not_source: bool = False
    destination: Subnet | None = None
    not_destination: bool = False
    protocol: str = ""
    ports: tuple[int, int] | None = None
    """First and last port that it goes to."""
    state: ConnectionState | None = None
    to_host: bool = False
    """Only to addresses of the host."""
    not_bridged: bool = False
    """Not where br_netfilter shows a packet that goes from port to port of a bridge; only where there is one."""
    syn: bool = False
    ping: bool = False


@lru_cache(1 << 14)
def pack(rule: Rule, family: Family) -> bytes:
    """Return the rule as ``struct ipt_entry`` or ``ip6t_entry`` with its matches and target."""
    matches = b"".join(_matches(rule, family))
    target = _target(rule.then, family)
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
        nothing = bytes(4 if family == 4 else 16)
        return nothing, nothing
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
    if rule.ports or rule.syn:
        found.append(_ports(rule))
    if rule.ping:
        found.append(_extension("icmp", 0, b"\x08\x00\xff\0") if family == 4 else _ping6())
    if rule.to_host:
        found.append(_extension("addrtype", 1, struct.pack("<HHI", 0, _LOCAL, 0)))
    if rule.state is not None:
        found.append(_conntrack(rule.state))
    if rule.not_bridged:
        found.append(_extension("physdev", 0, bytes(64) + bytes([_BRIDGED, _BRIDGED])))
    return found


def _ping6() -> bytes:
    return _extension("icmp6", 0, b"\x80\x00\xff\0")


def _ports(rule: Rule) -> bytes:
    first, last = rule.ports or (0, 0xFFFF)
    if rule.protocol == "tcp":
        flags = (_SYN_OR_RST, _SYN) if rule.syn else (0, 0)
        return _extension("tcp", 0, struct.pack("<HHHHBBBB", 0, 0xFFFF, first, last, 0, *flags, 0))
    if rule.protocol == "udp":
        return _extension("udp", 0, struct.pack("<HHHHBx", 0, 0xFFFF, first, last, 0))
    numbers = (first,) if first == last else (first, last)
    listed = struct.pack("<15H", *numbers, *(0 for _ in range(15 - len(numbers))))
    ranges = bytes([len(numbers) - 1]).ljust(15, b"\0")
    return _extension("multiport", 1, bytes([1, len(numbers)]) + listed + ranges + b"\0")


@lru_cache
def _conntrack(state: ConnectionState) -> bytes:
    """``struct xt_conntrack_mtinfo3``, of which only the states are used."""
    words = struct.pack("<13H", 0, 0, 0, 0, 0, 1, 0, state.value, 0, 0, 0, 0, 0)
    return _extension("conntrack", 3, bytes(136) + words)


def _target(then: Then, family: Family) -> bytes:
    match then:
        case str():
            return _extension(then, 0, bytes(4))
        case Dnat():
            return _extension("DNAT", 2, _dnat(then))
        case Snat(source):
            ends = _in_sixteen(source) * 2
            return _extension("SNAT", 2, struct.pack("<I", _MAP_ADDRESSES) + ends + bytes(8))
        case Masquerade() if family == 4:
            return _extension("MASQUERADE", 0, struct.pack("<I", 1) + bytes(16))
        case Masquerade():
            return _extension("MASQUERADE", 0, bytes(40))
        case Copy(next_hop, link):
            return _extension("TEE", 1, _in_sixteen(next_hop) + link.encode().ljust(_NAME, b"\0") + bytes(8))
        case Mark(bits):
            return _extension("MARK", 2, struct.pack("<II", bits, bits))
        case ClampMss():
            return _extension("TCPMSS", 0, struct.pack("<H", _TO_THE_PATHS))


def _dnat(then: Dnat) -> bytes:
    """``struct nf_nat_range2``."""
    ends = _in_sixteen(then.target) * 2
    if then.port is None:
        return struct.pack("<I", _MAP_ADDRESSES) + ends + bytes(8)
    flags = _MAP_ADDRESSES | _MAP_PORTS | (_MAP_OFFSET if then.count > 1 else 0)
    ports = struct.pack(">HHHxx", then.port, then.port + then.count - 1, then.base if then.count > 1 else 0)
    return struct.pack("<I", flags) + ends + ports


def _in_sixteen(address: Address) -> bytes:
    return address.packed.ljust(16, b"\0")


def _extension(name: str, revision: int, data: bytes) -> bytes:
    """A match or target: its size, name and revision, and its own data, all a multiple of eight bytes long."""
    size = (32 + len(data) + 7) & ~7
    return struct.pack("<H29sB", size, name.encode(), revision) + data.ljust(size - 32, b"\0")
