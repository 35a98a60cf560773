"""Path MTU discovery: the ICMP error reaches the sender through NAT and quotes the packet as it was sent."""

from __future__ import annotations

import socket

import pytest
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig
from scapy.packet import Packet

from tests.lab import PATIENCE, Lab, family
from tests.packets.topology import NARROW, AddressPlan, Topology

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")
TOO_MUCH = bytes(1400)


def complaint(plan: AddressPlan, packet: Packet) -> Packet | None:
    """Return the "packet too big" error in a packet, or None."""
    if plan.too_big is ICMP and ICMP in packet and (packet[ICMP].type, packet[ICMP].code) == (3, 4):
        return packet[ICMP]
    return packet.getlayer(ICMPv6PacketTooBig)


def limit(error: Packet) -> int:
    return error.nexthopmtu if isinstance(error, ICMP) else error.mtu


def test_a_container_is_told_about_the_packet_that_it_sent(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    """On the wire the error quotes the host's address, at the container the container's."""
    inside, wire = lab.tap(topology.nodes["web"], "eth0"), lab.tap(topology.outside, "eth0")
    packet = plan.whole(plan.packet(plan.web, plan.far)) / UDP(sport=6101, dport=9) / TOO_MUCH
    inside.send(topology.to_gateway() / packet)
    told = complaint(plan, wire.expect(lambda p: complaint(plan, p) is not None))
    assert told.payload.src == plan.uplink
    told = complaint(plan, inside.expect(lambda p: complaint(plan, p) is not None))
    quoted = told.payload
    assert limit(told) == NARROW
    assert (quoted.src, quoted.dst, quoted.sport, quoted.dport) == (plan.web, plan.far, 6101, 9)


def test_a_published_server_is_told_when_its_answer_is_too_big(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    """The router's error quotes the host's address and port; the container receives one with its own."""
    inside = lab.tap(topology.nodes["web"], "eth0")
    client = lab.tap(topology.outside, "eth0")
    to = topology.to_host()
    client.send(to / plan.packet(plan.far, plan.uplink) / UDP(sport=6102, dport=8080) / b"give me much")
    inside.expect(lambda p: UDP in p and p[UDP].sport == 6102)
    inside.send(
        topology.to_gateway() / plan.whole(plan.packet(plan.web, plan.far)) / UDP(sport=80, dport=6102) / TOO_MUCH
    )
    told = complaint(plan, client.expect(lambda p: complaint(plan, p) is not None))
    assert (told.payload.src, told.payload.sport) == (plan.uplink, 8080)
    told = complaint(plan, inside.expect(lambda p: complaint(plan, p) is not None))
    assert (told.payload.src, told.payload.sport) == (plan.web, 80)
    assert limit(told) == NARROW


def test_a_connection_finds_the_way_through(topology: Topology, plan: AddressPlan) -> None:
    """A stream of segments above the MTU arrives completely: the container's kernel applies the errors."""
    much = bytes(range(256)) * 200
    with topology.far.run(lambda: socket.create_server((plan.far, 7401), family=family(plan.far))) as server:
        server.settimeout(PATIENCE)
        with topology.nodes["pal"].run(lambda: socket.socket(family(plan.far), socket.SOCK_STREAM)) as client:
            client.settimeout(PATIENCE)
            client.connect((plan.far, 7401))
            accepted, who = server.accept()
            with accepted:
                accepted.settimeout(PATIENCE)
                client.sendall(much)
                client.shutdown(socket.SHUT_WR)
                got = b"".join(iter(lambda: accepted.recv(65536), b""))
    assert (got, who[0]) == (much, plan.uplink)
