"""The pair of links by which the first packet of a connection comes into the host a second time.

Owns ``netdq0`` and ``netdq1``.  What leaves by the one comes in by the other, in the same network namespace.
"""

from __future__ import annotations

from ipaddress import IPv4Interface

from netd.kernel import sysctl
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

OUT, IN = "netdq0", "netdq1"
NEXT_HOP, NEXT_HOP6 = "192.0.0.8", "fe80::8"
"""Addresses that nobody has: on a link without ARP, any leads to the other end, which has the same MAC."""
_MAC = "02:6e:65:74:64:71"
_MTU = 65535
"""What is put together from fragments goes in one piece."""
_ADDRESS = IPv4Interface(f"{NEXT_HOP}/32")
"""Without an address of its own a link takes no packet where the host checks the sources of what comes in."""


def open_detour() -> None:
    """Make the pair in the calling thread's network namespace, or bring what is there of it into shape."""
    with Rtnl() as here:
        if index_of(OUT) is None or index_of(IN) is None:
            here.talk(rtnl.delete_link(OUT), rtnl.new_loop(OUT, IN, _MAC, _MTU))
        for link in (OUT, IN):
            sysctl.write_optional(f"net/ipv6/conf/{link}/disable_ipv6", "0")
            sysctl.write_optional(f"net/ipv6/conf/{link}/accept_ra", "0")
        # Whoever is known by way of some link may be a client.
        sysctl.write(f"net/ipv4/conf/{IN}/rp_filter", "2")
        inside = index_of(IN)
        if inside is not None:
            here.talk(rtnl.add_address(inside, _ADDRESS, scope=rtnl.HOST_SCOPE))
        here.talk(rtnl.set_link(OUT, up=True), rtnl.set_link(IN, up=True))


def is_open() -> bool:
    """Tell whether the pair is there and up."""
    with Rtnl() as here:
        found = [here.find(link) for link in (OUT, IN)]
    return all(link is not None and link.up for link in found)


def close_detour() -> None:
    """Remove the pair, if it is there."""
    if index_of(OUT) is not None or index_of(IN) is not None:
        with Rtnl() as here:
            here.talk(rtnl.delete_link(OUT))
