"""Fragments: packets larger than the wire go through NAT in pieces, both ways, and come out whole."""

from __future__ import annotations

import socket

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6ExtHdrFragment, fragment6
from scapy.packet import Packet

from tests.lab import PATIENCE, Lab, family
from tests.packets.town import Book, Town

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")
LARGE = bytes(range(256)) * 14
"""3,584 bytes: three fragments on an ordinary wire."""


def split(book: Book, source: str, to: str, sport: int, dport: int) -> list[Packet]:
    """Return the fragments of one large datagram."""
    packet = book.packet(source, to)
    if book.ip is IP:
        return fragment(packet / UDP(sport=sport, dport=dport) / LARGE, fragsize=1200)
    whole = packet / IPv6ExtHdrFragment(id=sport) / UDP(sport=sport, dport=dport) / LARGE
    return fragment6(whole, 1280)


def listen(town_node, address: str, port: int) -> socket.socket:
    made = town_node.run(lambda: socket.socket(family(address), socket.SOCK_DGRAM))
    made.settimeout(PATIENCE)
    made.bind((address, port))
    return made


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "last first"])
def test_a_large_datagram_leaves_behind_the_hosts_address(town: Town, lab: Lab, book: Book, order: int) -> None:
    inside = lab.tap(town.nodes["web"], "eth0")
    with listen(town.outside, book.outside, 7301) as server:
        for piece in split(book, book.web, book.outside, 6001, 7301)[::order]:
            inside.send(town.to_gateway() / piece)
        said, who = server.recvfrom(65536)
    assert (said, who[0]) == (LARGE, book.uplink)


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "last first"])
def test_a_large_datagram_comes_in_to_a_published_port(town: Town, lab: Lab, book: Book, order: int) -> None:
    wire, inside = lab.tap(town.outside, "eth0"), lab.tap(town.nodes["web"], "eth0")
    for piece in split(book, book.outside, book.uplink, 6002, 8080)[::order]:
        wire.send(town.to_host() / piece)
    first = inside.expect(lambda p: UDP in p and p[UDP].sport == 6002)
    assert (first[book.ip].src, first[book.ip].dst, first[UDP].dport) == (book.outside, book.web, 80)
    back = wire.expect(lambda p: UDP in p and p[UDP].dport == 6002)
    assert (back[book.ip].src, back[UDP].sport) == (book.uplink, 8080)
    assert bytes(back[UDP].payload).split()[0] == book.outside.encode()


def test_a_large_answer_comes_back(town: Town, book: Book) -> None:
    """From sockets, so that the kernels at both ends break it up and put it together."""
    with listen(town.outside, book.outside, 7302) as server, listen(town.nodes["web"], book.web, 6003) as client:
        client.sendto(LARGE, (book.outside, 7302))
        said, who = server.recvfrom(65536)
        assert (said, who[0]) == (LARGE, book.uplink)
        server.sendto(said[::-1], who)
        assert client.recvfrom(65536)[0] == LARGE[::-1]


def test_fragments_with_a_forged_source_do_not_get_out(town: Town, lab: Lab, book: Book) -> None:
    """Later fragments have no ports, but they have a source."""
    eve, wire = lab.tap(town.nodes["eve"], "eth0"), lab.tap(town.outside, "eth0")
    for piece in split(book, book.shop, book.outside, 6004, 7303):
        eve.send(town.to_gateway() / piece)
    eve.send(town.to_gateway() / book.packet(book.eve, book.outside) / UDP(sport=6005, dport=7304))
    before = wire.until(lambda p: UDP in p and p[UDP].dport == 7304)
    assert not [p.summary() for p in before if LARGE[:64] in bytes(p)]
