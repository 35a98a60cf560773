"""Rogue routers: router advertisements and redirects of a container are dropped, and would be ignored."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6MLQuery2,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from netd.common.mac import link_local
from tests.lab import Lab, Node
from tests.packets.topology import BOOKS, Topology, never_arrives

SIX, FOUR = BOOKS[6], BOOKS[4]
PREFIX = "2001:db8:bad::"


def advertisement(mac: str, *before: Packet) -> Packet:
    """Return a router advertisement with a prefix, a default route and a name server."""
    frame = Ether(src=mac, dst="33:33:00:00:00:01") / IPv6(src=link_local(mac).compressed, dst="ff02::1", hlim=255)
    for header in before:
        frame /= header
    said = ICMPv6ND_RA(routerlifetime=1800, prf=1) / ICMPv6NDOptPrefixInfo(prefix=PREFIX, prefixlen=64)
    return frame / said / ICMPv6NDOptRDNSS(dns=[SIX.eve])


def fooled(node: Node) -> list[str]:
    """Return the addresses and routes that a node has from router advertisements."""
    addresses = [address["local"] for link in node.json("-6 addr") for address in link["addr_info"]]
    routes = [route["dst"] for route in node.json("-6 route show proto ra")]
    return [
        destination
        for destination in (*addresses, *routes)
        if destination.startswith(PREFIX[:-2]) or destination == "default"
    ]


@pytest.mark.parametrize(
    "hidden", [(), (IPv6ExtHdrDestOpt(),), (IPv6ExtHdrFragment(),)], ids=["plain", "options", "fragment"]
)
def test_an_advertisement_does_not_leave_the_port(topology: Topology, lab: Lab, hidden: tuple[Packet, ...]) -> None:
    eve, pal, mac = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(topology.nodes["pal"], "eth0"), topology.mac("eve")
    honest = Ether(src=mac, dst=topology.mac("pal")) / IPv6(src=SIX.eve, dst=SIX.pal) / UDP(dport=9)
    never_arrives(eve, pal, advertisement(mac, *hidden), honest, b"a mark at the end")
    for node in (topology.nodes["pal"], topology.machine):
        assert fooled(node) == []


def test_a_container_is_no_dhcp_server_and_no_multicast_router(topology: Topology, lab: Lab) -> None:
    eve, pal, mac = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(topology.nodes["pal"], "eth0"), topology.mac("eve")
    to = Ether(src=mac, dst=topology.mac("pal"))
    for forged, honest in (
        (IP(src=FOUR.eve, dst=FOUR.pal) / UDP(sport=67, dport=68), IP(src=FOUR.eve, dst=FOUR.pal) / UDP(dport=9)),
        (IP(src=FOUR.eve, dst=FOUR.pal, proto=2) / Raw(b"\x11" + bytes(7)), IP(src=FOUR.eve, dst=FOUR.pal) / UDP()),
        (IPv6(src=SIX.eve, dst=SIX.pal) / UDP(sport=547, dport=546), IPv6(src=SIX.eve, dst=SIX.pal) / UDP(dport=9)),
        (IPv6(src=SIX.eve, dst=SIX.pal) / ICMPv6MLQuery2(), IPv6(src=SIX.eve, dst=SIX.pal) / UDP(dport=9)),
    ):
        never_arrives(eve, pal, to / forged, to / honest, b"a mark at the end")
    unknown = Ether(src=mac, dst=topology.mac("pal"), type=0x88B5)
    never_arrives(eve, pal, unknown, to / IP(src=FOUR.eve, dst=FOUR.pal) / UDP(dport=9), b"a mark at the end")


def test_an_advertisement_that_passes_is_ignored(topology: Topology, lab: Lab) -> None:
    """Sent by rogue, which has no filter: its neighbours and the host do not accept router advertisements."""
    rogue, mac = lab.tap(topology.nodes["rogue"], "eth0"), topology.mac("rogue")
    pal, bridge = lab.tap(topology.nodes["pal"], "eth0"), lab.tap(topology.machine, "nd-front")
    rogue.send(advertisement(mac))
    for tap in (pal, bridge):
        tap.expect(lambda p: ICMPv6ND_RA in p)
    for node in (topology.nodes["pal"], topology.machine):
        assert fooled(node) == []


def test_redirects_of_a_container_are_dropped(topology: Topology, lab: Lab) -> None:
    """ICMP redirects with the gateway's source address, in both families."""
    eve, pal, mac = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(topology.nodes["pal"], "eth0"), topology.mac("eve")
    to = Ether(src=mac, dst=topology.mac("pal"))
    gateway6 = topology.machine.link_local("nd-front")
    honest = to / IPv6(src=SIX.eve, dst=SIX.pal) / UDP(dport=9)
    for source in (SIX.eve, link_local(mac).compressed, gateway6):
        redirect = to / IPv6(src=source, dst=SIX.pal, hlim=255) / ICMPv6ND_Redirect(tgt=SIX.eve, dst=SIX.far)
        never_arrives(eve, pal, redirect, honest, b"a mark at the end")
    redirect = to / IP(src=FOUR.gateway, dst=FOUR.pal) / ICMP(type=5, code=1, gw=FOUR.eve) / IP(dst=FOUR.far) / UDP()
    never_arrives(eve, pal, redirect, honest, b"a mark at the end")
    assert topology.machine.sysctl("net/ipv4/conf/nd-front/accept_redirects") == "0"
    assert topology.machine.sysctl("net/ipv6/conf/nd-front/accept_redirects") == "0"
