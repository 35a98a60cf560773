"""Forged sources: a container speaks with its own MAC and addresses; anything else ends at its port."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from tests.lab import Lab, reach
from tests.packets.town import Book, Town, never_arrives

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")
MARK = b"a mark at the end"


def to_pal(town: Town, book: Book, source: str, mac: str) -> Packet:
    return Ether(src=mac, dst=town.mac("pal")) / book.packet(source, book.pal) / UDP(sport=1, dport=9)


def test_a_neighbour_sees_no_forged_address(town: Town, lab: Lab, book: Book) -> None:
    eve, pal, mac = lab.tap(town.nodes["eve"], "eth0"), lab.tap(town.nodes["pal"], "eth0"), town.mac("eve")
    for source in (book.web, book.gateway, book.outside, book.loopback):
        never_arrives(eve, pal, to_pal(town, book, source, mac), to_pal(town, book, book.eve, mac), MARK)


def test_a_neighbour_sees_no_forged_mac(town: Town, lab: Lab, book: Book) -> None:
    """Else the bridge would learn that the victim is behind eve's port, and send her what is for him."""
    eve, pal = lab.tap(town.nodes["eve"], "eth0"), lab.tap(town.nodes["pal"], "eth0")
    forged = to_pal(town, book, book.eve, town.mac("web"))
    never_arrives(eve, pal, forged, to_pal(town, book, book.eve, town.mac("eve")), MARK)
    assert reach(town.nodes["pal"], book.web, 80) == book.pal


def test_nothing_hides_behind_a_vlan_tag(town: Town, lab: Lab, book: Book) -> None:
    eve, pal, mac = lab.tap(town.nodes["eve"], "eth0"), lab.tap(town.nodes["pal"], "eth0"), town.mac("eve")
    tagged = Ether(src=mac, dst=town.mac("pal")) / Dot1Q(vlan=0) / book.packet(book.web, book.pal) / UDP(dport=9)
    never_arrives(eve, pal, tagged, to_pal(town, book, book.eve, mac), MARK)


def test_the_world_sees_no_forged_address(town: Town, lab: Lab, book: Book) -> None:
    eve, wire = lab.tap(town.nodes["eve"], "eth0"), lab.tap(town.outside, "eth0")
    honest = town.to_gateway() / book.packet(book.eve, book.outside) / UDP(sport=2, dport=9)
    for source in (book.shop, book.far, book.pal):
        forged = town.to_gateway() / book.packet(source, book.outside) / UDP(sport=3, dport=9)
        never_arrives(eve, wire, forged, honest, MARK)


def test_a_source_inside_a_network_comes_by_its_bridge_alone(town: Town, lab: Lab, book: Book) -> None:
    """Else a neighbour host passes for a container where a port is published for a container's subnet alone."""
    wire, web = lab.tap(town.outside, "eth0"), lab.tap(town.nodes["web"], "eth0")
    to = town.to_host()
    honest = to / book.packet(book.outside, book.uplink) / UDP(sport=6, dport=8080)
    for source in (book.pal, book.shop):
        never_arrives(wire, web, to / book.packet(source, book.uplink) / UDP(sport=7, dport=8080), honest, MARK)
    assert reach(town.nodes["shop"], book.uplink, 8080) == book.shop
    assert reach(town.machine, book.gateway, 8080) is not None


def test_where_there_is_no_guard_the_host_still_drops_what_is_not_of_the_network(
    town: Town, lab: Lab, book: Book
) -> None:
    """rogue may pose as a neighbour, which is what it has no guard for, and still as nobody else."""
    rogue, wire = lab.tap(town.nodes["rogue"], "eth0"), lab.tap(town.outside, "eth0")
    pal = lab.tap(town.nodes["pal"], "eth0")
    rogue.send(to_pal(town, book, book.web, town.mac("rogue")) / MARK)
    pal.expect(lambda p: book.is_from(p, book.web) and bytes(p).endswith(MARK))
    honest = town.to_gateway() / book.packet(book.web, book.outside) / UDP(sport=4, dport=9)
    for source in (book.shop, book.far):
        forged = town.to_gateway() / book.packet(source, book.outside) / UDP(sport=5, dport=9)
        never_arrives(rogue, wire, forged, honest, MARK)
