"""TTL and hop limit: decremented by routers, not by bridges; "time exceeded" errors pass NAT."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import ICMPv6TimeExceeded
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.lab import Lab
from tests.packets.topology import AddressPlan, Topology

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")


def expiry(plan: AddressPlan, packet: Packet) -> Packet | None:
    """Return the "time exceeded" error in a packet, or None."""
    if plan.expired is ICMP and ICMP in packet and packet[ICMP].type == 11:
        return packet[ICMP]
    return packet.getlayer(ICMPv6TimeExceeded)


def test_between_containers_of_a_network_nothing_is_counted(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    web, pal = lab.tap(topology.nodes["web"], "eth0"), lab.tap(topology.nodes["pal"], "eth0")
    web.send(Ether(dst=topology.mac("pal")) / plan.packet(plan.web, plan.pal, 1) / UDP(sport=6201, dport=9))
    assert plan.hops(pal.expect(lambda p: UDP in p and p[UDP].sport == 6201)) == 1


def test_the_host_counts_once_on_the_way_out_and_once_on_the_way_in(
    topology: Topology, lab: Lab, plan: AddressPlan
) -> None:
    web, wire = lab.tap(topology.nodes["web"], "eth0"), lab.tap(topology.outside, "eth0")
    web.send(topology.to_gateway() / plan.packet(plan.web, plan.outside, 40) / UDP(sport=6202, dport=7501))
    assert plan.hops(wire.expect(lambda p: UDP in p and p[UDP].dport == 7501)) == 39
    to = topology.to_host()
    wire.send(to / plan.packet(plan.outside, plan.uplink, 40) / UDP(sport=6203, dport=8080))
    assert plan.hops(web.expect(lambda p: UDP in p and p[UDP].sport == 6203)) == 39


@pytest.mark.parametrize(("hops", "who"), [(1, "gateway"), (2, "outside")])
def test_expired_packets_are_reported_with_the_routers_address(
    topology: Topology, lab: Lab, plan: AddressPlan, hops: int, who: str
) -> None:
    """Traceroute from a container works: each router on the path answers with its address."""
    web = lab.tap(topology.nodes["web"], "eth0")
    web.send(topology.to_gateway() / plan.packet(plan.web, plan.far, hops) / UDP(sport=6210 + hops, dport=33434))
    told = web.expect(lambda p: expiry(plan, p) is not None and expiry(plan, p).payload.sport == 6210 + hops)
    assert told[plan.ip].src == getattr(plan, who)
    quoted = expiry(plan, told).payload
    assert (quoted.src, quoted.dst, quoted.dport) == (plan.web, plan.far, 33434)


def test_a_client_whose_packet_runs_out_before_the_container_is_told_by_the_host(
    topology: Topology, lab: Lab, plan: AddressPlan
) -> None:
    """The error does not contain the container's address."""
    wire = lab.tap(topology.outside, "eth0")
    to = topology.to_host()
    wire.send(to / plan.packet(plan.outside, plan.uplink, 1) / UDP(sport=6220, dport=8080))
    told = wire.expect(lambda p: expiry(plan, p) is not None)
    quoted = expiry(plan, told).payload
    assert told[plan.ip].src == plan.uplink
    assert (quoted.dst, quoted.dport) == (plan.uplink, 8080)
