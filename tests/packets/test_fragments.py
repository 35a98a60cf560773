"""Fragments: packets larger than the MTU pass NAT in both directions and are reassembled."""

from __future__ import annotations

import socket

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6ExtHdrFragment, fragment6
from scapy.packet import Packet

from tests.lab import PATIENCE, Lab, family
from tests.packets.topology import AddressPlan, Topology

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")
LARGE = bytes(range(256)) * 14
"""3,584 bytes: three fragments at an MTU of 1,500."""


def split(plan: AddressPlan, source: str, to: str, sport: int, dport: int) -> list[Packet]:
    """Return the fragments of one large datagram."""
    packet = plan.packet(source, to)
    if plan.ip is IP:
        return fragment(packet / UDP(sport=sport, dport=dport) / LARGE, fragsize=1200)
    whole = packet / IPv6ExtHdrFragment(id=sport) / UDP(sport=sport, dport=dport) / LARGE
    return fragment6(whole, 1280)


def listen(town_node, address: str, port: int) -> socket.socket:
    made = town_node.run(lambda: socket.socket(family(address), socket.SOCK_DGRAM))
    made.settimeout(PATIENCE)
    made.bind((address, port))
    return made


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "last first"])
def test_a_large_datagram_leaves_behind_the_hosts_address(
    topology: Topology, lab: Lab, plan: AddressPlan, order: int
) -> None:
    inside = lab.tap(topology.nodes["web"], "eth0")
    with listen(topology.outside, plan.outside, 7301) as server:
        for piece in split(plan, plan.web, plan.outside, 6001, 7301)[::order]:
            inside.send(topology.to_gateway() / piece)
        said, who = server.recvfrom(65536)
    assert (said, who[0]) == (LARGE, plan.uplink)


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "last first"])
def test_a_large_datagram_comes_in_to_a_published_port(
    topology: Topology, lab: Lab, plan: AddressPlan, order: int
) -> None:
    wire, inside = lab.tap(topology.outside, "eth0"), lab.tap(topology.nodes["web"], "eth0")
    for piece in split(plan, plan.outside, plan.uplink, 6002, 8080)[::order]:
        wire.send(topology.to_host() / piece)
    first = inside.expect(lambda p: UDP in p and p[UDP].sport == 6002)
    assert (first[plan.ip].src, first[plan.ip].dst, first[UDP].dport) == (plan.outside, plan.web, 80)
    back = wire.expect(lambda p: UDP in p and p[UDP].dport == 6002)
    assert (back[plan.ip].src, back[UDP].sport) == (plan.uplink, 8080)
    assert bytes(back[UDP].payload).split()[0] == plan.outside.encode()


def test_a_large_answer_comes_back(topology: Topology, plan: AddressPlan) -> None:
    """Sent by sockets, so that the kernels at both ends fragment and reassemble it."""
    with (
        listen(topology.outside, plan.outside, 7302) as server,
        listen(topology.nodes["web"], plan.web, 6003) as client,
    ):
        client.sendto(LARGE, (plan.outside, 7302))
        said, who = server.recvfrom(65536)
        assert (said, who[0]) == (LARGE, plan.uplink)
        server.sendto(said[::-1], who)
        assert client.recvfrom(65536)[0] == LARGE[::-1]


def test_fragments_with_a_forged_source_do_not_get_out(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    """Later fragments have no ports, but have a source address."""
    eve, wire = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(topology.outside, "eth0")
    for piece in split(plan, plan.shop, plan.outside, 6004, 7303):
        eve.send(topology.to_gateway() / piece)
    eve.send(topology.to_gateway() / plan.packet(plan.eve, plan.outside) / UDP(sport=6005, dport=7304))
    before = wire.until(lambda p: UDP in p and p[UDP].dport == 7304)
    assert not [p.summary() for p in before if LARGE[:64] in bytes(p)]
