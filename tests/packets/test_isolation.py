"""Isolation: containers of different networks do not reach one another, whatever frames they make."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest
from scapy.layers.l2 import Ether

from tests.lab import Lab, reach, unreachable
from tests.packets.town import Book, Town, never_arrives

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")


def test_the_gateway_of_another_network_answers_no_ping_but_the_hosts_services_do(
    town: Town, lab: Lab, book: Book
) -> None:
    eve = lab.tap(town.nodes["eve"], "eth0")
    four = book.too_big is ICMP
    for number, address in enumerate((book.shop_gateway, book.gateway, book.uplink)):
        ping = ICMP(id=7, seq=number) if four else ICMPv6EchoRequest(id=7, seq=number)
        eve.send(town.to_gateway() / book.packet(book.eve, address) / ping)
    before = eve.until(lambda p: book.is_from(p, book.uplink))
    answered = {packet[book.ip].src for packet in before if book.ip in packet and packet[book.ip].dst == book.eve}
    assert book.gateway in answered and book.shop_gateway not in answered
    lab.echo(town.machine, 90, address="0.0.0.0" if four else "::")
    assert reach(town.nodes["eve"], book.shop_gateway, 90) == book.eve


@pytest.mark.parametrize(("of", "to"), [("web", "shop"), ("shop", "web"), ("vault", "web")])
def test_networks_are_closed_to_each_other(town: Town, book: Book, of: str, to: str) -> None:
    assert unreachable(town.nodes[of], getattr(book, to), 80)


def test_a_frame_made_for_the_gateway_is_not_forwarded_to_another_network(town: Town, lab: Lab, book: Book) -> None:
    sender, receiver = lab.tap(town.nodes["eve"], "eth0"), lab.tap(town.nodes["shop"], "eth0")
    outside = lab.tap(town.outside, "eth0")
    ping = ICMP() if book.too_big is ICMP else ICMPv6EchoRequest()
    for number, payload in enumerate((TCP(sport=1, dport=80, flags="S"), TCP(sport=1, dport=80, flags="A"), ping)):
        sender.send(town.to_gateway() / book.packet(book.eve, book.shop) / payload / b"to the shop")
        sender.send(town.to_gateway() / book.packet(book.eve, book.outside) / UDP(dport=7100 + number) / b"mark")
        # By the time that the next packet has passed the host, this one has been decided about.
        outside.expect(lambda p, number=number: UDP in p and p[UDP].dport == 7100 + number)
    receiver.refuse(lambda p: b"to the shop" in bytes(p) or book.is_from(p, book.eve), timeout=0)


def test_a_frame_with_anothers_mac_does_not_cross_the_bridge_between_networks(town: Town, lab: Lab, book: Book) -> None:
    sender, receiver = lab.tap(town.nodes["eve"], "eth0"), lab.tap(town.nodes["pal"], "eth0")
    shop = lab.tap(town.nodes["shop"], "eth0")
    packet = book.packet(book.eve, book.shop) / UDP(dport=80)
    mark = f"{book.web} crossing".encode()
    sender.send(Ether(dst=town.mac("shop")) / packet / mark)
    sender.send(Ether(dst=town.mac("pal")) / book.packet(book.eve, book.pal) / UDP(dport=9) / mark)
    receiver.expect(lambda p: mark in bytes(p) and p.dst == town.mac("pal"))
    shop.refuse(lambda p: mark in bytes(p), timeout=0)


def test_a_neighbour_host_that_knows_the_way_is_not_let_in(town: Town, lab: Lab, book: Book) -> None:
    inside, wire = lab.tap(town.nodes["web"], "eth0"), lab.tap(town.outside, "eth0")
    to = town.to_host()
    direct = to / book.packet(book.outside, book.web) / UDP(sport=7200, dport=81)
    published = to / book.packet(book.outside, book.uplink) / UDP(sport=7201, dport=8080)
    never_arrives(wire, inside, direct, published, f"{book.outside} direct".encode())
