"""Published ports: the way in, the way back, and the detours by way of the host's own address (hairpin)."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet

from tests.lab import Lab, reach, unreachable
from tests.packets.town import Book, Town

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")


def test_the_container_sees_the_client_and_the_client_sees_the_host(town: Town, lab: Lab, book: Book) -> None:
    """The whole exchange of a connection's first packets, at both ends."""
    inside, wire = lab.tap(town.nodes["web"], "eth0"), lab.tap(town.outside, "eth0")
    frame = wire_frame(town, book) / TCP(sport=5001, dport=8080, flags="S", seq=1000)
    wire.send(frame)
    came = inside.expect(lambda p: TCP in p and p[TCP].sport == 5001)
    assert (came[book.ip].src, came[book.ip].dst, came[TCP].dport) == (book.outside, book.web, 80)
    left = inside.expect(lambda p: TCP in p and p[TCP].dport == 5001)
    assert (left[book.ip].src, left[TCP].sport, left[TCP].flags) == (book.web, 80, "SA")
    back = wire.expect(lambda p: TCP in p and p[TCP].dport == 5001)
    assert (back[book.ip].src, back[TCP].sport, back[TCP].flags) == (book.uplink, 8080, "SA")
    assert (back[TCP].seq, back[TCP].ack) == (left[TCP].seq, 1001)


def wire_frame(town: Town, book: Book) -> Packet:
    return town.to_host() / book.packet(book.outside, book.uplink)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_it_is_reached_from_outside_and_from_other_networks(town: Town, book: Book, protocol: str) -> None:
    assert reach(town.outside, book.uplink, 8080, protocol) == book.outside
    assert reach(town.nodes["shop"], book.uplink, 8080, protocol) == book.shop
    assert reach(town.nodes["shop"], book.shop_gateway, 8080, protocol) == book.shop


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("who", ["web", "pal"])
def test_hairpin_its_own_network_reaches_it_by_way_of_the_host(
    town: Town, lab: Lab, book: Book, who: str, protocol: str
) -> None:
    """The host puts its own address in: else the answer would take the direct way, from an address nobody asked."""
    inside = lab.tap(town.nodes["web"], "eth0")
    assert reach(town.nodes[who], book.uplink, 8080, protocol) == book.gateway
    kind = TCP if protocol == "tcp" else UDP
    came = inside.expect(lambda p: book.ip in p and isinstance(p[book.ip].payload, kind) and p[kind].dport == 80)
    assert (came[book.ip].src, came[book.ip].dst, came.src) == (book.gateway, book.web, town.macs["nd-front"])


def test_what_is_published_is_not_reached_by_the_containers_own_address(town: Town, book: Book) -> None:
    assert unreachable(town.nodes["shop"], book.web, 80)


def test_a_later_packet_of_no_connection_is_not_let_in(town: Town, lab: Lab, book: Book) -> None:
    """An acknowledgement out of nowhere, to the container's own address, by a neighbour that knows the way."""
    inside, wire = lab.tap(town.nodes["web"], "eth0"), lab.tap(town.outside, "eth0")
    to = town.to_host()
    wire.send(to / book.packet(book.outside, book.web) / TCP(sport=5002, dport=80, flags="A"))
    wire.send(to / book.packet(book.outside, book.uplink) / UDP(sport=5003, dport=8080) / b"mark")
    before = inside.until(lambda p: UDP in p and p[UDP].sport == 5003)
    assert not [p for p in before if TCP in p and p[TCP].sport == 5002]
