"""The pair of links by which the first packet of a connection enters the host a second time.

Owns ``netdq0`` and ``netdq1``.  Packets sent by the first reach the second, in the same network namespace, where they
lose their state of connection tracking and are redirected: they arrive by the loopback link, with the mark that the
firewall gave them.  Reverse path filters of the host's rules (``fib saddr . iif``, ``rpfilter``) accept every packet
of a loopback link, and would drop a client's packet that arrives by any other link than that of the route to it.
"""

from __future__ import annotations

from netd.kernel import sysctl
from netd.kernel.netlink import rtnl, tc
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

OUT, IN = "netdq0", "netdq1"
ARRIVAL = "lo"
"""The link by which the packets arrive the second time."""
MARK = 0x08000000
"""The bit of the packet mark of such packets, until they have been translated."""
NEXT_HOP, NEXT_HOP6 = "192.0.0.8", "fe80::8"
"""Addresses that no host has: on a link without ARP every next hop is the peer, which has the same MAC."""
RP_FILTER = f"net/ipv4/conf/{ARRIVAL}/rp_filter"
"""The host's own setting, which the caller records and restores."""
_MAC = "02:6e:65:74:64:71"
_MTU = 65535
"""Large enough for reassembled packets, which are not fragmented again."""
_SYSCTLS = {
    **{f"net/ipv6/conf/{link}/{name}": "0" for link in (OUT, IN) for name in ("disable_ipv6", "accept_ra")},
    # Loose mode: a client's packets are valid here if the host has a route to it by any link.
    RP_FILTER: "2",
    f"net/ipv4/conf/{ARRIVAL}/forwarding": "1",
}
"""A new link has the settings of ``conf/default``, which other programs change."""


def create() -> None:
    """Create the pair in the calling thread's network namespace, or configure the existing pair."""
    with Rtnl() as host:
        if index_of(OUT) is None or index_of(IN) is None:
            host.talk(rtnl.delete_link(OUT), rtnl.new_veth_without_arp(OUT, IN, _MAC, _MTU))
        for name, value in _SYSCTLS.items():
            sysctl.write_optional(name, value)
        inside, arrival = index_of(IN), index_of(ARRIVAL)
        if inside is not None and arrival is not None:
            host.talk(*tc.redirect_ingress(inside, arrival))
        host.talk(rtnl.set_link(OUT, up=True), rtnl.set_link(IN, up=True))


def is_complete() -> bool:
    """Return whether both links exist and are up, with the redirection and the sysctls that they need."""
    if any(sysctl.read_optional(name) not in ("", value) for name, value in _SYSCTLS.items()):
        return False
    with Rtnl() as host:
        found = [host.find(link) for link in (OUT, IN)]
        inside = found[1].index if found[1] else 0
        if not inside or not all(link is not None and link.up for link in found):
            return False
        return any(map(tc.redirects, host.dump(tc.list_programs(inside))))


def delete() -> None:
    """Delete the pair, if it exists."""
    if index_of(OUT) is not None or index_of(IN) is not None:
        with Rtnl() as host:
            host.talk(rtnl.delete_link(OUT))
