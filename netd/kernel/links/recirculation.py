"""The pair of links by which the first packet of a connection enters the host a second time.

Owns ``netdq0`` and ``netdq1``.  Packets sent by the first arrive by the second, in the same network namespace.
"""

from __future__ import annotations

from ipaddress import IPv4Interface

from netd.kernel import sysctl
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

OUT, IN = "netdq0", "netdq1"
NEXT_HOP, NEXT_HOP6 = "192.0.0.8", "fe80::8"
"""Addresses that no host has: on a link without ARP every next hop is the peer, which has the same MAC."""
_MAC = "02:6e:65:74:64:71"
_MTU = 65535
"""Large enough for reassembled packets, which are not fragmented again."""
_ADDRESS = IPv4Interface(f"{NEXT_HOP}/32")
"""If the host validates source addresses (rp_filter), a link without an address accepts no packets."""
_SYSCTLS = {
    **{f"net/ipv6/conf/{link}/{name}": "0" for link in (OUT, IN) for name in ("disable_ipv6", "accept_ra")},
    # Loose mode: a client's packets are valid here if the host has a route to it by any link.
    f"net/ipv4/conf/{IN}/rp_filter": "2",
    f"net/ipv4/conf/{IN}/forwarding": "1",
}
"""A new link has the settings of ``conf/default``, which other programs change."""


def create() -> None:
    """Create the pair in the calling thread's network namespace, or configure the existing pair."""
    with Rtnl() as host:
        if index_of(OUT) is None or index_of(IN) is None:
            host.talk(rtnl.delete_link(OUT), rtnl.new_veth_without_arp(OUT, IN, _MAC, _MTU))
        for name, value in _SYSCTLS.items():
            sysctl.write_optional(name, value)
        inside = index_of(IN)
        if inside is not None:
            host.talk(rtnl.add_address(inside, _ADDRESS, scope=rtnl.HOST_SCOPE))
        host.talk(rtnl.set_link(OUT, up=True), rtnl.set_link(IN, up=True))


def is_complete() -> bool:
    """Return whether both links exist and are up, with the address and the sysctls that they need."""
    if any(sysctl.read_optional(name) not in ("", value) for name, value in _SYSCTLS.items()):
        return False
    with Rtnl() as host:
        found = [host.find(link) for link in (OUT, IN)]
        inside = found[1].index if found[1] else 0
        return all(link is not None and link.up for link in found) and _ADDRESS in host.addresses(inside).get(
            inside, ()
        )


def delete() -> None:
    """Delete the pair, if it exists."""
    if index_of(OUT) is not None or index_of(IN) is not None:
        with Rtnl() as host:
            host.talk(rtnl.delete_link(OUT))
