"""Published ports: destination NAT, the return path, and hairpin NAT through the host's address."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet

from tests.lab import Lab, reach, unreachable
from tests.packets.topology import AddressPlan, Topology

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")


def test_the_container_sees_the_client_and_the_client_sees_the_host(
    topology: Topology, lab: Lab, plan: AddressPlan
) -> None:
    """The TCP handshake, observed at both ends."""
    inside, wire = lab.tap(topology.nodes["web"], "eth0"), lab.tap(topology.outside, "eth0")
    frame = wire_frame(topology, plan) / TCP(sport=5001, dport=8080, flags="S", seq=1000)
    wire.send(frame)
    came = inside.expect(lambda p: TCP in p and p[TCP].sport == 5001)
    assert (came[plan.ip].src, came[plan.ip].dst, came[TCP].dport) == (plan.outside, plan.web, 80)
    left = inside.expect(lambda p: TCP in p and p[TCP].dport == 5001)
    assert (left[plan.ip].src, left[TCP].sport, left[TCP].flags) == (plan.web, 80, "SA")
    back = wire.expect(lambda p: TCP in p and p[TCP].dport == 5001)
    assert (back[plan.ip].src, back[TCP].sport, back[TCP].flags) == (plan.uplink, 8080, "SA")
    assert (back[TCP].seq, back[TCP].ack) == (left[TCP].seq, 1001)


def wire_frame(topology: Topology, plan: AddressPlan) -> Packet:
    return topology.to_host() / plan.packet(plan.outside, plan.uplink)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_it_is_reached_from_outside_and_from_other_networks(
    topology: Topology, plan: AddressPlan, protocol: str
) -> None:
    assert reach(topology.outside, plan.uplink, 8080, protocol) == plan.outside
    assert reach(topology.nodes["shop"], plan.uplink, 8080, protocol) == plan.shop
    assert reach(topology.nodes["shop"], plan.shop_gateway, 8080, protocol) == plan.shop


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("who", ["web", "pal"])
def test_hairpin_its_own_network_reaches_it_by_way_of_the_host(
    topology: Topology, lab: Lab, plan: AddressPlan, who: str, protocol: str
) -> None:
    """The host replaces the source with its own address, else the reply would come directly from the container."""
    inside = lab.tap(topology.nodes["web"], "eth0")
    assert reach(topology.nodes[who], plan.uplink, 8080, protocol) == plan.gateway
    kind = TCP if protocol == "tcp" else UDP
    came = inside.expect(lambda p: plan.ip in p and isinstance(p[plan.ip].payload, kind) and p[kind].dport == 80)
    assert (came[plan.ip].src, came[plan.ip].dst, came.src) == (plan.gateway, plan.web, topology.macs["nd-front"])


def test_what_is_published_is_not_reached_by_the_containers_own_address(topology: Topology, plan: AddressPlan) -> None:
    assert unreachable(topology.nodes["shop"], plan.web, 80)


def test_a_later_packet_of_no_connection_is_not_let_in(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    """An ACK without a connection, to the container's address, from a neighbour with a route to it."""
    inside, wire = lab.tap(topology.nodes["web"], "eth0"), lab.tap(topology.outside, "eth0")
    to = topology.to_host()
    wire.send(to / plan.packet(plan.outside, plan.web) / TCP(sport=5002, dport=80, flags="A"))
    wire.send(to / plan.packet(plan.outside, plan.uplink) / UDP(sport=5003, dport=8080) / b"mark")
    before = inside.until(lambda p: UDP in p and p[UDP].sport == 5003)
    assert not [p for p in before if TCP in p and p[TCP].sport == 5002]
