"""Sysctls and link attributes of netd's bridges and bridge ports: what they must be, and requests that restore them.

Owns no links.  Only settings are listed that a network needs in order to work; the others stay as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator

from netd.common.addresses import Family
from netd.facts import Bridge
from netd.kernel import sysctl
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.link_reading import DISABLE_IPV6, Link, conf_value, number
from netd.kernel.netlink.messages import Request, attribute

# Positions in Link.conf4 (IPV4_DEVCONF_* of linux/ip.h, less one) and in Link.conf6 (DEVCONF_* of linux/ipv6.h).
_POSITIONS4 = {"forwarding": 0, "proxy_arp": 2, "accept_redirects": 3, "arp_ignore": 18, "route_localnet": 25}
_POSITIONS6 = {"forwarding": 0, "accept_ra": 3, "accept_redirects": 4, "disable_ipv6": DISABLE_IPV6, "accept_dad": 27}
_IPV4 = "net/ipv4/"
# linux/if_link.h
_BRIDGE = {
    "stp_state": (5, struct.Struct("=I"), 0),
    "vlan_filtering": (7, struct.Struct("=B"), 0),
    "nf_call_iptables": (36, struct.Struct("=B"), 0),
    "nf_call_ip6tables": (37, struct.Struct("=B"), 0),
    "nf_call_arptables": (38, struct.Struct("=B"), 0),
}
_STATE, _FORWARDING, _HAIRPIN = 1, 3, 4
_PORT = {
    "guard": (5, 0),
    "root_block": (6, 0),
    "learning": (8, 1),
    "flood": (9, 1),
    "proxy_arp": (10, 0),
    "mcast_flood": (27, 1),
    "bcast_flood": (30, 1),
    "neigh_suppress": (32, 0),
    "locked": (39, 0),
    "mab": (40, 0),
}
"""Type and value of the port attributes with a fixed value; absent ones are unknown to the kernel."""
NO_ARP_REPLIES = 8
"""Value of ``arp_ignore``: answer no query."""


def has_ipv6(fact: Bridge) -> bool:
    return any(address.version == 6 for address in fact.addresses)


def wrong_sysctls(link: Link, fact: Bridge, forwards: Collection[Family]) -> Iterator[tuple[str, int, int]]:
    """Yield path, present and required value of each sysctl of an owned bridge that differs.

    *forwards* are the families whose packets the firewall lets the bridge forward.  Redirects and router advertisements
    of containers are ignored.  IPv6 is enabled only if the bridge has an IPv6 address; during duplicate address
    detection of its own address, a bridge would send no solicitations for forwarded packets.
    """
    wanted4 = {"route_localnet": int(fact.localnet), "accept_redirects": 0, "proxy_arp": 0}
    wanted6 = {"accept_ra": 0, "disable_ipv6": int(not has_ipv6(fact))}
    if has_ipv6(fact):
        # They have no effect while IPv6 is disabled.
        wanted6 |= {"accept_redirects": 0, "accept_dad": 0}
    for family, wanted in ((4, wanted4), (6, wanted6)):
        if family in forwards:
            wanted["forwarding"] = 1
    for family, wanted, conf, positions in (
        (4, wanted4, link.conf4, _POSITIONS4),
        (6, wanted6, link.conf6, _POSITIONS6),
    ):
        for name, value in wanted.items():
            found = conf_value(conf, positions[name])
            if found is not None and found != value:
                yield f"net/ipv{family}/conf/{link.name}/{name}", found, value


def write_sysctls(link: Link, fact: Bridge, forwards: Collection[Family]) -> None:
    for path, _, value in wrong_sysctls(link, fact, forwards):
        sysctl.write(path, str(value))


def configure_new(link: Link, fact: Bridge, forwards: Collection[Family]) -> list[Request]:
    """Write the IPv6 sysctls of a new bridge, and return the request that sets those of IPv4."""
    wrong4 = dict[int, int]()
    for path, _, value in wrong_sysctls(link, fact, forwards):
        if path.startswith(_IPV4):
            wrong4[_POSITIONS4[path.rpartition("/")[2]] + 1] = value
        else:
            sysctl.write(path, str(value))
    return [rtnl.set_ipv4_settings(link.index, wrong4)] if wrong4 else []


def has_localnet(link: Link) -> bool:
    return conf_value(link.conf4, _POSITIONS4["route_localnet"]) == 1


def has_arp_ignore(link: Link) -> bool:
    """Return whether a segment leaves ARP queries for addresses of the host to the network's first bridge."""
    return conf_value(link.conf4, _POSITIONS4["arp_ignore"]) in (None, NO_ARP_REPLIES)


def wrong_attributes(link: Link) -> list[str]:
    """Return the names of the attributes of an owned bridge that differ."""
    return [
        name for name, (kind, _, value) in _BRIDGE.items() if kind in link.data and number(link.data[kind]) != value
    ]


def restored_attributes(link: Link) -> list[Request]:
    wrong = [_BRIDGE[name] for name in wrong_attributes(link)]
    payload = b"".join(attribute(kind, packing.pack(value)) for kind, packing, value in wrong)
    return [rtnl.set_bridge(link.index, payload)] if wrong else []


def wrong_port_attributes(link: Link, *, hairpin: bool) -> list[str]:
    """Return the names of a port's attributes that differ, except isolation."""
    wrong = [name for name, kind, value in _port_attributes(hairpin) if _differs(link, kind, value)]
    # A port without a carrier does not forward: the container may have set its end down.
    return [*wrong, "state"] if link.running and _differs(link, _STATE, _FORWARDING) else wrong


def restored_port(link: Link, *, hairpin: bool) -> list[Request]:
    wrong = {kind: value for _, kind, value in _port_attributes(hairpin) if _differs(link, kind, value)}
    if link.running and _differs(link, _STATE, _FORWARDING):
        wrong[_STATE] = _FORWARDING
    payload = b"".join(attribute(kind, bytes((value,))) for kind, value in wrong.items())
    return [rtnl.set_port_attributes(link.name, payload)] if wrong else []


def _port_attributes(hairpin: bool) -> Iterable[tuple[str, int, int]]:
    yield "hairpin", _HAIRPIN, int(hairpin)
    for name, (kind, value) in _PORT.items():
        yield name, kind, value


def _differs(link: Link, kind: int, value: int) -> bool:
    return kind in link.port and number(link.port[kind]) != value
