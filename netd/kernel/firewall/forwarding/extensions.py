"""Matches and targets of iptables as conditions and effects of rules, from their data in the kernel.  Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from netd.common.addresses import Family
from netd.kernel.firewall.forwarding.chains import UNKNOWN, Test
from netd.kernel.firewall.iptables.entry import ConnectionState

_STATES = {
    "established": ConnectionState.ESTABLISHED,
    "related": ConnectionState.RELATED,
    "new": ConnectionState.NEW,
    "invalid": ConnectionState.INVALID,
    "untracked": ConnectionState.UNTRACKED,
}
_MATCH_STATE, _ALIAS = 1, 0x2000
"""XT_CONNTRACK_STATE and XT_CONNTRACK_STATE_ALIAS (``-m state``) of linux/netfilter/xt_conntrack.h."""
_LOCAL = 1 << 2
_NOT_DESTINATION, _ONE_LINK = 0x2, 0xC
"""XT_ADDRTYPE_INVERT_DEST and XT_ADDRTYPE_LIMIT_IFACE_IN and _OUT of linux/netfilter/xt_addrtype.h."""
_VERDICTS = {"REJECT": "reject", "NFQUEUE": "queue"}
_NEUTRAL = ("NOTRACK", "ACCOUNT")
_MAP_ADDRESSES = 1


@dataclass(frozen=True, slots=True)
class Extension:
    """A match or target of a rule, as ``struct xt_entry_match`` contains it."""

    name: str
    revision: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Effect:
    verdict: str = ""
    effect: str = ""
    leads_to: IPv4Network | IPv6Network | None = None


def condition(match: Extension) -> Test | None:
    """Return the condition of a match; None if it holds for all packets."""
    match match.name:
        case "comment":
            return None
        case "mark" if match.revision == 1 and len(match.data) >= 9:
            mark, mask, inverted = struct.unpack_from("=IIB", match.data)
            return Test("mark", ((mask, mark),), bool(inverted))
        case "conntrack" if match.revision in (2, 3) and len(match.data) >= 152:
            return _conntrack(struct.unpack_from("=8H", match.data, 136))
        case "addrtype" if match.revision == 1 and len(match.data) >= 8:
            return _address_type(*struct.unpack_from("=HHI", match.data))
    return UNKNOWN


def _conntrack(words: tuple[int, ...]) -> Test:
    """Return the condition of ``struct xt_conntrack_mtinfo3``, if it is about states only."""
    matched, inverted, states = words[5:8]
    if matched & ~_ALIAS != _MATCH_STATE:
        return UNKNOWN
    if states & ~sum(bit.value for bit in _STATES.values()) and states != ConnectionState.DNAT.value:
        return UNKNOWN
    if states == ConnectionState.DNAT.value:
        return Test("status", ("dnat",), bool(inverted & _MATCH_STATE))
    return Test("state", tuple(name for name, bit in _STATES.items() if states & bit.value), bool(inverted & 1))


def _address_type(source: int, destination: int, flags: int) -> Test:
    """Return the condition of ``struct xt_addrtype_info_v1``, if it is whether the destination is the host itself."""
    negated = bool(flags & _NOT_DESTINATION)
    if source or destination != _LOCAL or (negated and flags & _ONE_LINK):
        return UNKNOWN
    return Test("daddrtype", ("local",), negated)


def effect(target: Extension, family: Family) -> Effect:
    """Return what a target does with packets; all targets that are not known here have an effect."""
    if target.name in _VERDICTS:
        return Effect(verdict=_VERDICTS[target.name])
    if target.name in _NEUTRAL or (target.name == "CT" and target.data[:2] == b"\1\0"):
        return Effect()
    return Effect(effect=target.name, leads_to=_destination(target, family) if target.name == "DNAT" else None)


def _destination(target: Extension, family: Family) -> IPv4Network | IPv6Network | None:
    """Return the address of a DNAT target; None if it is not a single address."""
    size, start = (4 if family == 4 else 16), 4
    if target.revision == 0:  # struct nf_nat_ipv4_multi_range_compat: the number of ranges, which is 1, precedes.
        start = 8
        flags, first, last = target.data[4:8], target.data[8:12], target.data[12:16]
    else:  # struct nf_nat_range and nf_nat_range2: addresses of 16 bytes
        flags, first, last = (
            target.data[:4],
            target.data[start : start + size],
            target.data[start + 16 : start + 16 + size],
        )
    if len(last) != size or first != last or not int.from_bytes(flags, "little") & _MAP_ADDRESSES:
        return None
    return ip_network(first)
