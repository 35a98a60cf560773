"""What the kernel holds, put into facts.

Pure but for the questions it asks.  Whatever is not as we would have made it (down, without its bridge,
without its other end) is told as a fact that differs from any wanted one, so that a plan mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from netd.common.addresses import FAMILIES, Address, Family, Interface
from netd.facts import Bridge, DefaultRoute, Fact, Pair
from netd.kernel import sysctl
from netd.kernel.links import antispoof, bridges, egress_barrier, macvlans, plugin_links, segments
from netd.kernel.netlink.rtnl import MAIN_TABLE, Link, RtnlRoute
from netd.kernel.netlink.rtnl_socket import Rtnl
from netd.kernel.sysctl_journal import Settings

PREFIX = "nd"
Addresses: TypeAlias = Mapping[int, list[Interface]]
Inside: TypeAlias = tuple[list[Link], Addresses, list[RtnlRoute]]
"""Links, addresses and routes of one sandbox."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What is to be known of the host to tell of a sandbox."""

    link: Callable[[int], Link | None]
    """By its index."""
    program: Callable[[int], bytes]
    """The one that guards a port, by the port's index; b"" where none does."""
    sysctls: Callable[[str], Settings]
    """What was set inside, by the name of the host side."""


def look_inside() -> Inside:
    """Look around in the calling thread's namespace."""
    with Rtnl() as here:
        return here.links(), here.addresses(), here.routes(MAIN_TABLE)


def is_pair(link: Link) -> bool:
    return link.kind == "veth" and link.name.startswith(PREFIX) and not segments.is_joint(link.name)


def bridge_fact(link: Link, addresses: Iterable[Interface], known: Bridge | None, leaving: bytes) -> Bridge:
    """Tell of a bridge.  One that is down has no MTU; of one that is not ours only what we set is told.

    *leaving* is the program on its egress.
    """
    found = Bridge(
        name=link.name,
        addresses=_one_of_each(addresses, known.addresses if known else ()),
        mtu=link.mtu if link.up else 0,
        localnet=sysctl.read_optional(f"net/ipv4/conf/{link.name}/route_localnet") == "1",
        egress_barrier=leaving == egress_barrier.PROGRAM,
    )
    if known and not known.owned:
        return replace(found, mtu=known.mtu if link.up else 0, owned=False, egress_barrier=known.egress_barrier)
    return found


def bridge_facts(
    links: Iterable[Link], addresses: Addresses, known: Mapping[str, Bridge], leaving: Callable[[int], bytes]
) -> list[Bridge]:
    """Tell of the bridges with our mark, and of those we were told to use."""
    return [
        bridge_fact(link, addresses.get(link.index, []), known.get(link.name), leaving(link.index))
        for link in links
        if bridges.is_ours(link) or (link.name in known and not known[link.name].owned)
    ]


def _pair_fact(there: Outside, host: Link, sandbox: str, inside: Link, addresses: tuple[Interface, ...]) -> Pair:
    bridge = there.link(host.master) if host.master else None
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
        sysctls=there.sysctls(host.name),
        antispoof=there.program(host.index) == antispoof.program(inside.mac, addresses),
    )


def port_is(known: Pair, link: Link, there: Outside) -> bool:
    """Whether the host side of a pair is as it is known to be."""
    bridge = there.link(link.master)
    guarded = there.program(link.index) == antispoof.program(known.mac, known.addresses)
    found = (link.up, bridge.name if bridge else "", link.mtu, link.isolated, guarded)
    return found == (True, known.bridge, known.mtu, known.isolated, known.antispoof)


def lone_pair(host: Link) -> Pair:
    """Tell of a host side whose other end is in no sandbox of ours."""
    return Pair(
        host=host.name, bridge="", alias=host.alias, sandbox="", inside="", mac=host.mac, addresses=(), mtu=host.mtu
    )


def sandbox_facts(sandbox: str, inside: Inside, there: Outside) -> list[Fact]:
    """Tell of the pairs that lead into a sandbox, and of its default routes."""
    links, addresses, routes = inside
    facts: list[Fact] = []
    for link in links:
        port = there.link(link.peer) if link.kind == "veth" else None
        found = _one_of_each(addresses.get(link.index, []), ())
        if port and is_pair(port) and port.peer == link.index:
            facts.append(_pair_fact(there, port, sandbox, link, found))
        elif macvlans.is_ours(link):
            facts.append(macvlans.fact(sandbox, link, found, there.link))
        elif plugin_links.is_moved(link):
            facts.append(plugin_links.fact(sandbox, link, found, routes))
    gateways = (default_gateway(routes, family) for family in FAMILIES)
    return [*facts, *(DefaultRoute(sandbox=sandbox, gateway=gateway) for gateway in gateways if gateway)]


def _one_of_each(there: Iterable[Interface], wanted: Iterable[Interface]) -> tuple[Interface, ...]:
    """Return an address of each family: the wanted one if it is there, else the first."""
    found = list(there)
    ordered = [*(one for one in wanted if one in found), *found]
    firsts = (next((one for one in ordered if one.version == family), None) for family in FAMILIES)
    return tuple(one for one in firsts if one is not None)


def default_gateway(routes: Iterable[RtnlRoute], family: Family) -> Address | None:
    """Return where a family's default route leads, if there is one."""
    of_family = (route for route in routes if route.destination.version == family)
    found = (route.gateway for route in of_family if route.destination.prefixlen == 0)
    return next((gateway for gateway in found if gateway is not None), None)
