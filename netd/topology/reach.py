"""Who reaches whom, as netd's rules say.  Pure.

Networks with the same rules form a *zone*, so the answers for all pairs of networks are one small table.  The rules are
those of ``netd/portmap/rules.py``; ``tests/matrix/tables.py`` states the same for packets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from netd.common.addresses import FAMILIES, Family
from netd.portmap.rules import BridgeRules, GatewayMode


class Kind(StrEnum):
    BRIDGE = "bridge"
    PARENT = "parent"
    """Containers are hosts on the network of a parent link (macvlan)."""
    HOST = "host"
    """The host itself, and containers that share its network namespace."""
    NONE = "none"
    OUTSIDE = "outside"
    """Other hosts."""
    OTHER = "other"
    """A plugin decides."""


class Access(StrEnum):
    ALL = "all"
    """All ports at the server's own address."""
    OPENED = "opened"
    """Pings and the published ports, at the server's own address."""
    PUBLISHED = "published"
    """The published ports, at an address of the host."""
    NONE = "none"
    UNKNOWN = "unknown"
    """Neither netd nor its rules decide."""


class ReachRule(msgspec.Struct, frozen=True, rename="pascal"):
    """What clients of one zone reach in another, by some families."""

    access: Access
    reason: str
    families: tuple[Family, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """The properties of a network on which the rules between networks depend."""

    kind: Kind
    internal: bool = False
    isolated: bool = False
    """Containers of the network do not reach each other directly."""
    modes: tuple[tuple[Family, GatewayMode], ...] = ()
    """The gateway mode of each enabled family; only of bridges."""
    families: tuple[Family, ...] = FAMILIES
    trusted: tuple[str, ...] = ()
    """Links from which all ports are reachable."""
    device: str = ""
    """The network's bridge, if another network trusts it."""
    parent: str = ""
    host_access: bool = False
    """The host has a link of its own on the parent's network."""

    def mode(self, family: Family) -> GatewayMode | None:
        return dict(self.modes).get(family)

    def is_closed(self, family: Family) -> bool:
        """Return whether no packet of the family is forwarded into or out of the network."""
        return self.internal or self.mode(family) in (None, GatewayMode.ISOLATED)


HOST_ZONE = Zone(kind=Kind.HOST)
OUTSIDE_ZONE = Zone(kind=Kind.OUTSIDE)
SAME = "same"
"""The key of the rules between containers of one network."""

Table = dict[str, dict[str, list[ReachRule]]]


def of_bridge(rules: BridgeRules, trusted_anywhere: frozenset[str]) -> Zone:
    """Return the zone of a bridge network; *trusted_anywhere*: the links that any network trusts."""
    treatments = [(family, found) for family in FAMILIES if (found := rules.treatment(family)) is not None]
    return Zone(
        kind=Kind.BRIDGE,
        internal=rules.internal,
        isolated=rules.isolated,
        modes=tuple((family, treatment.mode) for family, treatment in treatments),
        families=tuple(family for family, _ in treatments),
        trusted=rules.trusted,
        device=rules.name if rules.name in trusted_anywhere else "",
    )


def table(zones: dict[str, Zone]) -> Table:
    """Return the rules from each zone to each, and between containers of one network of the zone (``same``)."""
    found: Table = {}
    for name, client in zones.items():
        row = {other: _merged(between(client, server, family) for family in _common(client, server))
               for other, server in zones.items()}  # fmt: skip
        row[SAME] = _merged(within(client, family) for family in client.families)
        found[name] = row
    return found


def within(zone: Zone, family: Family) -> ReachRule:
    """Return what containers of one network reach of each other."""
    match zone.kind:
        case Kind.BRIDGE if zone.isolated:
            reason = "enable_icc=false: containers of this network reach only published ports of each other"
            return ReachRule(Access.PUBLISHED, reason, (family,))
        case Kind.PARENT if zone.isolated:
            return ReachRule(Access.NONE, "macvlan_mode=private: containers do not reach each other", (family,))
        case Kind.HOST:
            return ReachRule(Access.ALL, "both share the host's network namespace", (family,))
        case Kind.NONE | Kind.OUTSIDE:
            return ReachRule(Access.NONE, "containers on this network have only a loopback interface", (family,))
        case Kind.OTHER:
            return ReachRule(Access.UNKNOWN, "the driver of the network decides", (family,))
        case _:
            return ReachRule(Access.ALL, "containers of one network reach all ports of each other", (family,))


def between(client: Zone, server: Zone, family: Family) -> ReachRule:
    """Return what *client* reaches of *server*, where both are not on one network."""
    access, reason = _between(client, server, family)
    return ReachRule(access, reason, (family,))


def _between(client: Zone, server: Zone, family: Family) -> tuple[Access, str]:
    if Kind.NONE in (client.kind, server.kind):
        return Access.NONE, "a container on the network none has only a loopback interface"
    if Kind.OTHER in (client.kind, server.kind):
        return Access.UNKNOWN, "the driver of a network that is not netd's decides"
    match client.kind:
        case Kind.HOST:
            return _from_host(server, family)
        case Kind.OUTSIDE:
            return _from_outside(server, family)
        case Kind.PARENT:
            return _from_parent(client, server)
        case _:
            return _from_bridge(client, server, family)


def _from_host(server: Zone, family: Family) -> tuple[Access, str]:
    match server.kind:
        case Kind.HOST:
            return Access.ALL, "programs of one network namespace"
        case Kind.OUTSIDE:
            return Access.ALL, "the host's own routes and rules decide"
        case Kind.PARENT if not server.host_access:
            return Access.NONE, "the kernel passes no packets between macvlan links and their parent (netd.host_access)"
        case Kind.BRIDGE if server.mode(family) is GatewayMode.ISOLATED:
            return Access.NONE, "gateway mode isolated: the host has no address on this network"
        case _:
            return Access.ALL, "the host reaches all ports at the containers' own addresses"


def _from_outside(server: Zone, family: Family) -> tuple[Access, str]:
    match server.kind:
        case Kind.HOST:
            return Access.ALL, "programs on the host's own addresses; the host's own rules decide"
        case Kind.OUTSIDE:
            return Access.ALL, "netd has no part in it"
        case Kind.PARENT:
            return (
                Access.ALL,
                f"hosts on the network of {server.parent} reach all ports at the containers' own addresses",
            )
        case _:
            return _into_bridge(server, family, "other hosts")


def _from_parent(client: Zone, server: Zone) -> tuple[Access, str]:
    if server.kind is Kind.OUTSIDE:
        return Access.ALL, f"directly on the network of {client.parent}, without address translation"
    if server.kind is Kind.HOST:
        if client.host_access:
            return Access.ALL, "the host has a link of its own on the parent's network (netd.host_access)"
        return Access.NONE, "the kernel passes no packets between macvlan links and their parent (netd.host_access)"
    if server.kind is Kind.PARENT and server.parent == client.parent:
        if client.isolated or server.isolated:
            return Access.NONE, "macvlan_mode=private: containers do not reach each other"
        return Access.ALL, f"both are on the network of {client.parent}"
    return Access.UNKNOWN, f"as for any host on the network of {client.parent}: its routers decide"


def _from_bridge(client: Zone, server: Zone, family: Family) -> tuple[Access, str]:
    if server.kind is Kind.HOST:
        if client.mode(family) is GatewayMode.ISOLATED:
            return Access.NONE, "gateway mode isolated: the host has no address on the client's network"
        where = "at the gateway's address" if client.internal else "at all addresses of the host"
        return Access.ALL, f"programs of the host, {where}; the host's own input rules decide"
    if client.is_closed(family):
        return Access.NONE, "the client's network is internal: its packets are not forwarded"
    if server.kind is Kind.OUTSIDE:
        return Access.ALL, "forwarded by the host"
    if server.kind is Kind.PARENT:
        return Access.UNKNOWN, f"forwarded by the host; the routers of the network of {server.parent} decide"
    if client.device and client.device in server.trusted:
        return Access.ALL, f"the server's network trusts {client.device} (trusted_host_interfaces)"
    return _into_bridge(server, family, "other networks")


def _into_bridge(server: Zone, family: Family, clients: str) -> tuple[Access, str]:
    if server.is_closed(family):
        return Access.NONE, "the server's network is internal: no packets are forwarded to it"
    trusted = f"; all ports by {', '.join(server.trusted)}" if server.trusted else ""
    match server.mode(family):
        case GatewayMode.UNPROTECTED:
            return Access.ALL, f"gateway mode nat-unprotected: {clients} reach all ports at the container's own address"
        case GatewayMode.ROUTED:
            reason = f"gateway mode routed: {clients} reach published ports at the container's own address{trusted}"
            return Access.OPENED, reason
        case _:
            return Access.PUBLISHED, f"{clients} reach published ports only, at an address of the host{trusted}"


def _common(client: Zone, server: Zone) -> tuple[Family, ...]:
    return tuple(family for family in client.families if family in server.families)


def _merged(rules: Iterable[ReachRule]) -> list[ReachRule]:
    """Return the rules with equal ones of both families as one."""
    families: dict[tuple[Access, str], tuple[Family, ...]] = {}
    for rule in rules:
        key = rule.access, rule.reason
        families[key] = families.get(key, ()) + rule.families
    return [ReachRule(access, reason, found) for (access, reason), found in families.items()]
