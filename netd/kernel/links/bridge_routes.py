"""The routes by a bridge that its network needs: those that the kernel derives from the bridge's addresses, and ::1.

The kernel adds them with an address, and never again after another program has deleted them.  Owns routes by netd's
bridges only.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Interface, IPv6Network, ip_network

from netd.common.addresses import Address, Subnet
from netd.common.mac import link_local
from netd.facts import Bridge
from netd.kernel.links.bridge_settings import has_ipv6
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.link_reading import Link
from netd.kernel.netlink.messages import Request
from netd.kernel.netlink.rtnl import LOCAL_TABLE, MAIN_TABLE, RtnlRoute

_LINK_LOCAL, _MULTICAST = IPv6Network("fe80::/64"), IPv6Network("ff00::/8")
_LOOPBACK6 = IPv6Network("::1/128")
Key = tuple[int, Subnet]
"""Table and destination of a route."""


def link_local_address(mac: str) -> IPv6Interface:
    """Return the link-local address (EUI-64) of a bridge, the source of its neighbour solicitations."""
    return IPv6Interface((link_local(mac), 64))


def missing(link: Link, fact: Bridge, routes: Iterable[RtnlRoute]) -> list[Key]:
    """Return the required routes by the link that are not in *routes*."""
    present = {(route.table, route.destination) for route in routes if route.link == link.index}
    return [key for key in _required(link, fact) if key not in present]


def _required(link: Link, fact: Bridge) -> dict[Key, Address | None]:
    """Return the preferred source by required route."""
    found: dict[Key, Address | None] = {}
    for address in fact.addresses:
        found[LOCAL_TABLE, ip_network(address.ip)] = address.ip
        if address.network.prefixlen < address.max_prefixlen:
            found[MAIN_TABLE, address.network] = address.ip if address.version == 4 else None
    if not (fact.owned and has_ipv6(fact)):
        return found
    found[LOCAL_TABLE, IPv6Network(link_local_address(link.mac).ip)] = None
    found[MAIN_TABLE, _LINK_LOCAL] = None
    if fact.localnet:
        found[LOCAL_TABLE, _LOOPBACK6] = None
    if link.running:
        # The kernel adds this route when the bridge first gets a carrier.
        found[LOCAL_TABLE, _MULTICAST] = None
    return found


def restored(link: Link, fact: Bridge, routes: Iterable[RtnlRoute]) -> list[Request]:
    """Return the requests that add the missing routes, as the kernel itself would have added them."""
    sources = _required(link, fact)
    return [
        rtnl.add_kernel_route(link.index, table, destination, sources[table, destination])
        for table, destination in missing(link, fact, routes)
    ]


def may_be_late(fact: Bridge) -> bool:
    """Return whether local routes are missing that the kernel adds a moment after an IPv6 address."""
    return any(fault.startswith("local route ") and ":" in fault for fault in fact.faults)


def describe(key: Key) -> str:
    table, destination = key
    return f"route {destination}" if table == MAIN_TABLE else f"local route {destination}"
