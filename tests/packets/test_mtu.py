"""MTU: who sends too much for a narrow wire far away is told so, through NAT, about the packet as he sent it."""

from __future__ import annotations

import socket

import pytest
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig
from scapy.packet import Packet

from tests.lab import PATIENCE, Lab, family
from tests.packets.town import NARROW, Book, Town

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")
TOO_MUCH = bytes(1400)


def complaint(book: Book, packet: Packet) -> Packet | None:
    """Return the error in a packet that says that another was too big."""
    if book.too_big is ICMP and ICMP in packet and (packet[ICMP].type, packet[ICMP].code) == (3, 4):
        return packet[ICMP]
    return packet.getlayer(ICMPv6PacketTooBig)


def limit(error: Packet) -> int:
    return error.nexthopmtu if isinstance(error, ICMP) else error.mtu


def test_a_container_is_told_about_the_packet_that_it_sent(town: Town, lab: Lab, book: Book) -> None:
    """On the wire the error is about the host's packet, at the container about the container's."""
    inside, wire = lab.tap(town.nodes["web"], "eth0"), lab.tap(town.outside, "eth0")
    packet = book.whole(book.packet(book.web, book.far)) / UDP(sport=6101, dport=9) / TOO_MUCH
    inside.send(town.to_gateway() / packet)
    told = complaint(book, wire.expect(lambda p: complaint(book, p) is not None))
    assert told.payload.src == book.uplink
    told = complaint(book, inside.expect(lambda p: complaint(book, p) is not None))
    quoted = told.payload
    assert limit(told) == NARROW
    assert (quoted.src, quoted.dst, quoted.sport, quoted.dport) == (book.web, book.far, 6101, 9)


def test_a_published_server_is_told_when_its_answer_is_too_big(town: Town, lab: Lab, book: Book) -> None:
    """The router complains to the host's address and port, the container hears of its own."""
    inside = lab.tap(town.nodes["web"], "eth0")
    client = lab.tap(town.outside, "eth0")
    to = town.to_host()
    client.send(to / book.packet(book.far, book.uplink) / UDP(sport=6102, dport=8080) / b"give me much")
    inside.expect(lambda p: UDP in p and p[UDP].sport == 6102)
    inside.send(town.to_gateway() / book.whole(book.packet(book.web, book.far)) / UDP(sport=80, dport=6102) / TOO_MUCH)
    told = complaint(book, client.expect(lambda p: complaint(book, p) is not None))
    assert (told.payload.src, told.payload.sport) == (book.uplink, 8080)
    told = complaint(book, inside.expect(lambda p: complaint(book, p) is not None))
    assert (told.payload.src, told.payload.sport) == (book.web, 80)
    assert limit(told) == NARROW


def test_a_connection_finds_the_way_through(town: Town, book: Book) -> None:
    """A stream of more than the wire takes at once arrives whole: the kernel inside has understood the errors."""
    much = bytes(range(256)) * 200
    with town.far.run(lambda: socket.create_server((book.far, 7401), family=family(book.far))) as server:
        server.settimeout(PATIENCE)
        with town.nodes["pal"].run(lambda: socket.socket(family(book.far), socket.SOCK_STREAM)) as client:
            client.settimeout(PATIENCE)
            client.connect((book.far, 7401))
            accepted, who = server.accept()
            with accepted:
                accepted.settimeout(PATIENCE)
                client.sendall(much)
                client.shutdown(socket.SHUT_WR)
                got = b"".join(iter(lambda: accepted.recv(65536), b""))
    assert (got, who[0]) == (much, book.uplink)
