"""Conversion of links, addresses and routes that the kernel reports into facts.

Owns nothing and changes nothing.  An object that differs from what netd creates (down, without its bridge, without its
peer) becomes a fact that differs from every desired fact, so that the plan repairs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from netd.common.addresses import FAMILIES, Address, Family, Interface
from netd.facts import Bridge, DefaultRoute, Fact, Pair
from netd.kernel.links import antispoof, bridge_settings, bridges, egress_barrier, macvlans, plugin_links, segments
from netd.kernel.netlink.rtnl import MAIN_TABLE, Link, RtnlRoute
from netd.kernel.netlink.rtnl_socket import Rtnl
from netd.kernel.netlink.tc import Programs
from netd.kernel.sysctl_journal import Settings

PREFIX = "nd"
Addresses: TypeAlias = Mapping[int, list[Interface]]
SandboxContents: TypeAlias = tuple[list[Link], Addresses, list[RtnlRoute]]
"""Links, addresses by the index of their link, and routes of one sandbox."""


@dataclass(frozen=True, slots=True)
class HostLookups:
    """Functions that read the host, for the facts of a sandbox."""

    link: Callable[[int], Link | None]
    """Returns a link by its index."""
    named: Callable[[str], Link | None]
    """Returns a link by its name."""
    programs: Callable[[int], Programs]
    """Returns the BPF programs on the ingress of a port, by the port's index."""
    sysctls: Callable[[str], Settings]
    """Returns the sysctls that were set on the inside of a pair, by the name of its host side."""
    delivery_faults: Callable[[Link, int, str, Programs], list[str]]
    """Returns what a port lacks of direct delivery, by the port, its scope, the MAC inside, and the port's programs."""


@dataclass(frozen=True, slots=True)
class BridgeState:
    """What the kernel holds for one bridge besides the link itself."""

    addresses: Sequence[Interface]
    routes: Sequence[RtnlRoute]
    egress_program: bytes
    forwards: frozenset[Family]
    """The families whose packets the firewall lets the bridge forward."""
    neighbours: tuple[str, ...] = ()
    """Permanent neighbour entries by the bridge that contradict the containers' MACs."""


def read_namespace(inside: Rtnl) -> SandboxContents:
    """Read links, addresses and routes of the socket's namespace."""
    return inside.links(), inside.addresses(), inside.routes(MAIN_TABLE)


def is_pair(link: Link) -> bool:
    return link.kind == "veth" and link.name.startswith(PREFIX) and not segments.is_uplink(link.name)


def bridge_fact(link: Link, state: BridgeState, known: Bridge | None) -> Bridge:
    """Return the fact of a bridge.

    A bridge that is down has MTU 0.  Of a bridge that netd did not create, only what netd sets is read; the rest is
    copied from *known*.
    """
    found = Bridge(
        name=link.name,
        addresses=_first_of_each_family(state.addresses, known.addresses if known else ()),
        mtu=link.mtu if link.up else 0,
        localnet=bridge_settings.has_localnet(link),
        egress_barrier=state.egress_program == egress_barrier.PROGRAM,
    )
    if known and not known.owned:
        mtu = known.mtu if link.up else 0
        found = replace(found, mtu=mtu, owned=False, egress_barrier=known.egress_barrier)
    # Routes are compared with those of the addresses found: a missing address is a difference of its own.
    faults = bridges.faults(link, found, state.routes, state.forwards) if link.up else []
    return replace(found, faults=(*faults, *state.neighbours))


def bridge_facts(
    links: Iterable[Link], known: Mapping[str, Bridge], state: Callable[[Link], BridgeState]
) -> list[Bridge]:
    """Return the facts of the bridges with netd's mark and of the foreign bridges that networks use."""
    return [
        bridge_fact(link, state(link), known.get(link.name))
        for link in links
        if bridges.is_own(link) or (link.name in known and not known[link.name].owned)
    ]


def _port(lookups: HostLookups, link: Link, mac: str, addresses: Sequence[Interface]) -> tuple[bool, tuple[str, ...]]:
    """Return whether a port has the antispoof program, which direct delivery needs, and the port's faults."""
    programs = lookups.programs(link.index)
    has_antispoof = programs.first == antispoof.program(mac, addresses)
    bridge = lookups.link(link.master) if has_antispoof and not link.isolated else None
    scope = segments.first_bridge(bridge, lookups.named) if bridge else 0
    faults = lookups.delivery_faults(link, scope, mac, programs)
    return has_antispoof, (*bridge_settings.wrong_port_attributes(link, hairpin=True), *faults)


def _pair_fact(lookups: HostLookups, host: Link, sandbox: str, inside: Link, addresses: tuple[Interface, ...]) -> Pair:
    bridge = lookups.link(host.master) if host.master else None
    has_antispoof, faults = _port(lookups, host, inside.mac, addresses)
    return Pair(
        host=host.name,
        bridge=bridge.name if bridge and host.up and inside.up else "",
        alias=host.alias,
        sandbox=sandbox,
        inside=inside.name,
        mac=inside.mac,
        addresses=addresses,
        mtu=min(host.mtu, inside.mtu),
        isolated=host.isolated,
        sysctls=lookups.sysctls(host.name),
        antispoof=has_antispoof,
        faults=faults,
    )


def port_is(known: Pair, link: Link, lookups: HostLookups) -> bool:
    """Return whether the host side of a pair is still as in *known*."""
    bridge = lookups.link(link.master)
    has_antispoof, faults = _port(lookups, link, known.mac, known.addresses)
    found = (link.up, bridge.name if bridge else "", link.mtu, link.isolated, has_antispoof, faults)
    return found == (True, known.bridge, known.mtu, known.isolated, known.antispoof, known.faults)


def lone_pair(host: Link) -> Pair:
    """Return the fact of a host side whose peer is in no sandbox of netd."""
    return Pair(
        host=host.name, bridge="", alias=host.alias, sandbox="", inside="", mac=host.mac, addresses=(), mtu=host.mtu
    )


def sandbox_facts(sandbox: str, contents: SandboxContents, lookups: HostLookups) -> list[Fact]:
    """Return the facts of the links in a sandbox and of its default routes."""
    links, addresses, routes = contents
    facts: list[Fact] = []
    for link in links:
        port = lookups.link(link.peer) if link.kind == "veth" else None
        found = _first_of_each_family(addresses.get(link.index, []), ())
        if port and is_pair(port) and port.peer == link.index:
            facts.append(_pair_fact(lookups, port, sandbox, link, found))
        elif macvlans.is_own(link):
            facts.append(macvlans.fact(sandbox, link, found, lookups.link))
        elif plugin_links.is_moved(link):
            facts.append(plugin_links.fact(sandbox, link, found, routes))
    gateways = (default_gateway(routes, family) for family in FAMILIES)
    return [*facts, *(DefaultRoute(sandbox=sandbox, gateway=gateway) for gateway in gateways if gateway)]


def _first_of_each_family(present: Iterable[Interface], wanted: Iterable[Interface]) -> tuple[Interface, ...]:
    """Return an address of each family: the wanted address if it is present, else the first."""
    found = list(present)
    ordered = [*(address for address in wanted if address in found), *found]
    firsts = (next((address for address in ordered if address.version == family), None) for family in FAMILIES)
    return tuple(address for address in firsts if address is not None)


def default_gateway(routes: Iterable[RtnlRoute], family: Family) -> Address | None:
    """Return the gateway of a family's default route, None if there is none."""
    of_family = (route for route in routes if route.destination.version == family)
    found = (route.gateway for route in of_family if route.destination.prefixlen == 0)
    return next((gateway for gateway in found if gateway is not None), None)
