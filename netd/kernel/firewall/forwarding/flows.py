"""Packets that netd's rules admit, as samples for the forward chains of other programs.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from netd.common.addresses import FAMILIES, Address, Family
from netd.kernel.firewall.forwarding.chains import Packet
from netd.portmap.rules import BridgeRules, GatewayMode

OUTSIDE: dict[Family, Address] = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
"""Addresses for documentation: a host of which no rule can know more than that it is outside."""
OWN_NAMES = "nd-"
"""Prefix of the names of bridges that netd chose; others are the default bridge and those that users named."""
PORTS = "ndp"
"""Prefix of the names of netd's bridge ports."""
_MOST_NAMES = 16
"""Bridges with other names of which packets are sampled."""


class Traffic(StrEnum):
    OUTGOING = "outgoing"
    """Connections of containers to hosts outside."""
    PUBLISHED = "published"
    """Connections from outside to published ports."""
    WITHIN = "same network"
    """Connections between containers of a network, which pass IP rules where br_netfilter passes them there."""


@dataclass(frozen=True, slots=True)
class Flow:
    traffic: Traffic
    family: Family
    bridge: str
    packet: Packet
    """One packet of the flow: the first one, or a reply."""
    reply: bool = False


def samples(bridges: Iterable[BridgeRules], uplink: str, filtered: Collection[Family], mark: int) -> list[Flow]:
    """Return packets of each traffic and family that the rules admit.

    *uplink* is the link of the default route; "" if there is none.  *filtered* are the families whose packets between
    ports of a bridge br_netfilter passes to the rules.  *mark* is the mark of admitted packets.
    """
    found: list[Flow] = []
    for bridge in _representatives(bridges):
        for family in FAMILIES:
            addresses = _addresses(bridge, family)
            if addresses:
                found += _of_bridge(bridge, family, addresses, uplink, family in filtered, mark)
    return found


def _representatives(bridges: Iterable[BridgeRules]) -> list[BridgeRules]:
    """Return a bridge of each kind for all names that netd chose, and the first bridges with other names."""
    found: dict[object, BridgeRules] = {}
    for bridge in sorted(bridges, key=lambda bridge: bridge.name):
        found.setdefault(_kind(bridge), bridge)
    return list(found.values())[:_MOST_NAMES]


def kinds(bridges: Iterable[BridgeRules]) -> Set[object]:
    """Return a value that is equal for bridges with the same samples, except for names that netd chose."""
    return set(map(_kind, bridges))


def _kind(bridge: BridgeRules) -> object:
    name = OWN_NAMES if bridge.name.startswith(OWN_NAMES) else bridge.name
    return name, bridge.internal, bridge.isolated, bridge.ipv4, bridge.ipv6


def _addresses(bridge: BridgeRules, family: Family) -> list[Address]:
    """Return two addresses of containers, if the bridge has the family."""
    subnets = [subnet for subnet in bridge.subnets if subnet.version == family and subnet.num_addresses > 3]
    if bridge.treatment(family) is None or not subnets:
        return []
    return [subnets[0][2], subnets[0][3 if subnets[0].num_addresses > 4 else 2]]


def _of_bridge(
    bridge: BridgeRules, family: Family, inside: list[Address], uplink: str, filtered: bool, mark: int
) -> Iterator[Flow]:
    treatment = bridge.treatment(family)
    common: Packet = {"nfproto": f"ipv{family}", "mark": mark}
    if filtered and not bridge.isolated:
        both: Packet = {**common, "iifname": bridge.name, "oifname": bridge.name}
        yield from _with_reply(Traffic.WITHIN, family, bridge.name, both, inside[0], inside[1])
    if treatment is None or bridge.internal or treatment.mode is GatewayMode.ISOLATED:
        return
    leaving: Packet = {**common, "iifname": bridge.name, "oifname": uplink}
    yield from _with_reply(Traffic.OUTGOING, family, bridge.name, leaving, inside[0], OUTSIDE[family])
    entering: Packet = {**common, "iifname": uplink, "oifname": bridge.name}
    if treatment.mode is not GatewayMode.ROUTED:
        entering = {**entering, "status": frozenset({"dnat"})}
    yield from _with_reply(Traffic.PUBLISHED, family, bridge.name, entering, OUTSIDE[family], inside[0])


def _with_reply(
    traffic: Traffic, family: Family, bridge: str, known: Packet, source: Address, destination: Address
) -> Iterable[Flow]:
    first = {"status": frozenset[str](), **known, "saddr": source, "daddr": destination, "state": "new"}
    answer = {
        **first,
        "iifname": known["oifname"],
        "oifname": known["iifname"],
        "saddr": destination,
        "daddr": source,
        "state": "established",
    }
    first, answer = ({field: value for field, value in packet.items() if value != ""} for packet in (first, answer))
    return Flow(traffic, family, bridge, first), Flow(traffic, family, bridge, answer, reply=True)


def bridged(bridges: Iterable[BridgeRules]) -> list[Flow]:
    """Return frames between ports of a bridge, for chains of the family bridge."""
    found = []
    for bridge in _representatives(bridges):
        packet = {"iifname": f"{PORTS}0", "oifname": f"{PORTS}1", "ibrname": bridge.name, "obrname": bridge.name}
        if not bridge.isolated:
            found.append(Flow(Traffic.WITHIN, 4 if bridge.ipv4 else 6, bridge.name, packet))
    return found
