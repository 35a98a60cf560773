"""The classic BPF program on the ingress of a container's port, which drops frames with forged sources.

Pure.  The program is for a ``clsact`` qdisc in direct-action mode: it is deleted with the port, needs no firewall, and
``tc filter show dev PORT ingress`` shows it.  It passes ARP, IPv4 and IPv6 from the container's own MAC and addresses,
and drops messages of routers, multicast routers and DHCP servers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from netd.common.addresses import Interface
from netd.common.mac import link_local

PASS, DROP = 0xFFFFFFFF, 2
"""TC_ACT_UNSPEC, so that further filters are evaluated, and TC_ACT_SHOT.

A load beyond the end of a frame ends a program with 0, which passes too: no receiver accepts a packet truncated there.
"""
MAX_EXTENSION_HEADERS = 4
"""IPv6 extension headers that the program skips; a frame with more is dropped."""
_INSTRUCTION = struct.Struct("=HBBI")

# linux/filter.h, linux/bpf_common.h
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_INDEXED_WORD, _INDEXED_HALF, _INDEXED_BYTE = 0x40, 0x48, 0x50
_SKIP_IPV4 = 0xB1
"""BPF_MSH: sets X to the length of the IPv4 header at the offset.  The codes above are BPF_ABS and BPF_IND."""
_SET_A, _SET_X, _LOAD_CELL, _STORE = 0x00, 0x01, 0x60, 0x02
_ADD, _SHIFT, _ADD_X, _A_TO_X = 0x04, 0x64, 0x0C, 0x07
_EQUAL, _ANY_BIT, _JUMP, _RETURN = 0x15, 0x45, 0x05, 0x06
_HAS_VLAN_TAG = 0xFFFFF000 + 48

_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD
_ICMP, _IGMP, _UDP, _PIM = 1, 2, 17, 103
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _ICMPV6, _OPTIONS = 0, 43, 44, 58, 60
_SOLICITATION, _ADVERTISEMENT, _ROUTER, _REDIRECT = 135, 136, 134, 137
_MLD_QUERY, _MLD_REPORTS, _ROUTER_SOLICITATION, _MULTICAST_ROUTER = 130, (131, 132, 143), 133, 151
_ROUTER_TYPES = {_ICMP: (5, 9), _IGMP: (0x11, 0x30)}
"""ICMP types of redirects and router advertisements; IGMP types of queries and multicast router advertisements."""
_DHCP_SERVER, _DHCPV6_SERVER = 67, 547
_DHCP_REQUEST_PORTS = 68 << 16 | _DHCP_SERVER
_NEXT, _UNSPECIFIED, _LENGTH = 0, 1, 2
"""Cells of the program's memory: the next header's type, whether the source is ``::``, a header's length."""


@dataclass(frozen=True, slots=True)
class _Op:
    code: int
    k: int | str = 0
    """The operand; a name is replaced by a value of the endpoint."""
    yes: str = ""
    no: str = ""
    """Labels to jump to; "" is the next instruction."""


_Line: TypeAlias = _Op | str
"""An instruction, or the label of the instruction that follows."""


def program(mac: str, addresses: Sequence[Interface]) -> bytes:
    """Return the program for an endpoint, as an array of ``struct sock_filter``."""
    versions = {address.version for address in addresses}
    code, placeholders = _assembled(4 in versions, 6 in versions)
    values = dict(_values(mac, addresses))
    filled = bytearray(code)
    for offset, name in placeholders:
        struct.pack_into("=I", filled, offset, values[name])
    return bytes(filled)


def _values(mac: str, addresses: Sequence[Interface]) -> Iterator[tuple[str, int]]:
    raw = bytes.fromhex(mac.replace(":", ""))
    yield "mac", int.from_bytes(raw[:4], "big")
    yield "mac tail", int.from_bytes(raw[4:], "big")
    for address in addresses:
        if address.version == 4:
            yield "ipv4", int(address.ip)
        else:
            yield from _words("ipv6", address.ip.packed)
            yield from _words("local", link_local(mac).packed)


def _words(name: str, packed: bytes) -> Iterator[tuple[str, int]]:
    return ((f"{name} {number}", word) for number, word in enumerate(struct.unpack("!4I", packed)))


@cache
def _assembled(ipv4: bool, ipv6: bool) -> tuple[bytes, tuple[tuple[int, str], ...]]:
    """Return the code for endpoints with these families, and the byte offset and name of each placeholder."""
    # A conditional jump reaches 255 instructions, so the returns are in the middle too.
    end: tuple[_Line, ...] = ("pass", _Op(_RETURN, PASS), "drop", _Op(_RETURN, DROP))
    lines = (*_frame(), *_ipv4(ipv4), *_arp(ipv4), *end, *_ipv6(ipv6), *end)
    positions: dict[str, list[int]] = {}
    ops: list[_Op] = []
    for line in lines:
        if isinstance(line, str):
            positions.setdefault(line, []).append(len(ops))
        else:
            ops.append(line)
    packed, placeholders = [], []
    for number, op in enumerate(ops):
        if isinstance(op.k, str):
            placeholders.append((number * _INSTRUCTION.size + 4, op.k))
        packed.append(_encoded(op, number + 1, positions))
    return b"".join(packed), tuple(placeholders)


def _encoded(op: _Op, following: int, positions: dict[str, list[int]]) -> bytes:
    """Return the instruction; a label is resolved to its next position after *following*."""
    yes, no = (
        next(position for position in positions[label] if position >= following) - following if label else 0
        for label in (op.yes, op.no)
    )
    if op.code == _JUMP:
        return _INSTRUCTION.pack(op.code, 0, 0, yes)
    return _INSTRUCTION.pack(op.code, yes, no, 0 if isinstance(op.k, str) else op.k)


def _frame() -> Iterator[_Line]:
    """Require no VLAN tag and the endpoint's own source MAC; then jump by EtherType."""
    yield _Op(_LOAD_BYTE, _HAS_VLAN_TAG)
    yield _Op(_EQUAL, 0, no="drop")
    yield _Op(_LOAD_WORD, 6)
    yield _Op(_EQUAL, "mac", no="drop")
    yield _Op(_LOAD_HALF, 10)
    yield _Op(_EQUAL, "mac tail", no="drop")
    yield _Op(_LOAD_HALF, 12)
    yield _Op(_EQUAL, _IPV4, yes="ipv4")
    yield _Op(_EQUAL, _ARP, yes="arp")
    yield _Op(_EQUAL, _IPV6, no="drop")
    yield _Op(_JUMP, yes="ipv6")


def _ipv4(has: bool) -> Iterator[_Line]:
    """Require the endpoint's source address and no destination in 127.0.0.0/8; from 0.0.0.0 pass only DHCP requests."""
    yield "ipv4"
    yield _Op(_LOAD_WORD, 26)
    yield _Op(_EQUAL, 0, yes="no source")
    if has:
        yield _Op(_EQUAL, "ipv4", no="drop")
        yield _Op(_LOAD_BYTE, 30)
        yield _Op(_EQUAL, 127, yes="drop")
        yield from _ipv4_payload()
    else:
        yield _Op(_JUMP, yes="drop")
    yield "no source"
    for load, offset, expected in ((_LOAD_WORD, 30, 0xFFFFFFFF), (_LOAD_BYTE, 14, 0x45), (_LOAD_BYTE, 23, _UDP)):
        yield _Op(load, offset)
        yield _Op(_EQUAL, expected, no="drop")
    yield _Op(_LOAD_HALF, 20)
    yield _Op(_ANY_BIT, 0x3FFF, yes="drop")
    yield _Op(_LOAD_WORD, 34)
    yield _Op(_EQUAL, _DHCP_REQUEST_PORTS, yes="pass", no="drop")


def _ipv4_payload() -> Iterator[_Line]:
    """Drop messages of routers and DHCP servers; only the first fragment of a packet is examined."""
    yield _Op(_LOAD_HALF, 20)
    yield _Op(_ANY_BIT, 0x1FFF, yes="pass")
    yield _Op(_SKIP_IPV4, 14)
    yield _Op(_LOAD_BYTE, 23)
    yield _Op(_EQUAL, _PIM, yes="drop")
    yield _Op(_EQUAL, _UDP, no="not udp")
    yield _Op(_INDEXED_HALF, 14)
    yield _Op(_EQUAL, _DHCP_SERVER, yes="drop", no="pass")
    yield "not udp"
    for number in _ROUTER_TYPES:
        yield _Op(_EQUAL, number, yes=f"protocol {number}")
    yield _Op(_JUMP, yes="pass")
    for number, kinds in _ROUTER_TYPES.items():
        yield f"protocol {number}"
        yield _Op(_INDEXED_BYTE, 14)
        for kind in kinds:
            yield _Op(_EQUAL, kind, yes="drop")
        yield _Op(_JUMP, yes="pass")


def _arp(has: bool) -> Iterator[_Line]:
    """Pass ARP for Ethernet and IPv4 from the endpoint's MAC and address; from 0.0.0.0 only probes for that address."""
    yield "arp"
    if not has:
        yield _Op(_JUMP, yes="drop")
        return
    for offset, expected in ((14, 0x00010800), (22, "mac")):
        yield _Op(_LOAD_WORD, offset)
        yield _Op(_EQUAL, expected, no="drop")
    for offset, expected in ((18, 0x0604), (26, "mac tail")):
        yield _Op(_LOAD_HALF, offset)
        yield _Op(_EQUAL, expected, no="drop")
    yield _Op(_LOAD_WORD, 28)
    yield _Op(_EQUAL, "ipv4", yes="pass")
    yield _Op(_EQUAL, 0, no="drop")
    yield _Op(_LOAD_WORD, 38)
    yield _Op(_EQUAL, "ipv4", yes="pass", no="drop")


def _ipv6(has: bool) -> Iterator[_Line]:
    """Require a source address of the endpoint; from ``::`` pass only packets to multicast groups."""
    yield "ipv6"
    if not has:
        yield _Op(_JUMP, yes="drop")
        return
    yield from _is_own(_LOAD_WORD, 22, "own source", "other source")
    yield "other source"
    for offset in (22, 26, 30, 34):
        yield _Op(_LOAD_WORD, offset)
        yield _Op(_EQUAL, 0, no="drop")
    yield _Op(_LOAD_BYTE, 38)
    yield _Op(_EQUAL, 0xFF, no="drop")
    yield _Op(_SET_A, 1)
    yield _Op(_JUMP, yes="extension headers")
    yield "own source"
    yield _Op(_SET_A, 0)
    yield "extension headers"
    yield _Op(_STORE, _UNSPECIFIED)
    yield from _headers()
    yield from _neighbours()


def _is_own(load: int, start: int, yes: str, no: str) -> Iterator[_Line]:
    """Jump to *yes* if the address at *start* is the endpoint's or its link-local address, else to *no*."""
    for name, otherwise in (("ipv6", f"{yes} local"), ("local", no)):
        for number in range(4):
            yield _Op(load, start + 4 * number)
            yield _Op(_EQUAL, f"{name} {number}", yes=yes if number == 3 else "", no=otherwise)
        yield otherwise if name == "ipv6" else f"{yes} end"


def _headers() -> Iterator[_Line]:
    """Skip extension headers; jump to "icmp" with X at the header of ICMPv6, and to "other" for other protocols.

    Messages of DHCPv6 servers are dropped, and so are routing headers: they contain further destinations, which no
    rule examines.
    """
    yield _Op(_SET_X, 54)
    yield _Op(_LOAD_BYTE, 20)
    for number in range(MAX_EXTENSION_HEADERS):
        yield _Op(_EQUAL, _FRAGMENT, yes=f"fragment {number}")
        for kind in (_HOP_BY_HOP, _OPTIONS):
            yield _Op(_EQUAL, kind, yes=f"skip {number}")
        yield _Op(_JUMP, yes="payload")
        yield f"fragment {number}"
        yield _Op(_INDEXED_HALF, 2)
        yield _Op(_ANY_BIT, 0xFFF8, yes="pass")  # only the first fragment has the header
        yield _Op(_SET_A, 0)
        yield _Op(_JUMP, yes=f"advance {number}")
        yield f"skip {number}"
        yield _Op(_INDEXED_BYTE, 1)
        yield f"advance {number}"
        yield _Op(_ADD, 1)
        yield _Op(_SHIFT, 3)
        yield _Op(_STORE, _LENGTH)
        yield _Op(_INDEXED_BYTE, 0)
        yield _Op(_STORE, _NEXT)
        yield _Op(_LOAD_CELL, _LENGTH)
        yield _Op(_ADD_X)
        yield _Op(_A_TO_X)
        yield _Op(_LOAD_CELL, _NEXT)
    yield "payload"
    for kind in (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _OPTIONS, _PIM):
        yield _Op(_EQUAL, kind, yes="drop")
    yield _Op(_EQUAL, _ICMPV6, yes="icmp")
    yield _Op(_EQUAL, _UDP, no="other")
    yield _Op(_INDEXED_HALF, 0)
    yield _Op(_EQUAL, _DHCPV6_SERVER, yes="drop", no="other")


def _neighbours() -> Iterator[_Line]:
    """Drop messages of routers, and neighbour messages for addresses that are not the endpoint's.

    Among the latter is duplicate address detection, which would make the owner give up its address.  From ``::`` pass
    only duplicate address detection of own addresses, multicast reports and router solicitations.
    """
    yield "icmp"
    yield _Op(_INDEXED_BYTE, 0)
    for kind in (_ROUTER, _REDIRECT, _MLD_QUERY, _MULTICAST_ROUTER):
        yield _Op(_EQUAL, kind, yes="drop")
    yield _Op(_EQUAL, _ADVERTISEMENT, yes="target")
    yield _Op(_EQUAL, _SOLICITATION, yes="solicitation")
    for kind in (*_MLD_REPORTS, _ROUTER_SOLICITATION):
        yield _Op(_EQUAL, kind, yes="pass")
    yield "other"
    yield _Op(_LOAD_CELL, _UNSPECIFIED)
    yield _Op(_EQUAL, 0, yes="pass", no="drop")
    yield "solicitation"
    yield _Op(_LOAD_CELL, _UNSPECIFIED)
    yield _Op(_EQUAL, 0, yes="pass")
    yield "target"
    yield from _is_own(_INDEXED_WORD, 8, "pass", "drop")
