"""Forged sources: packets with a MAC or address other than the container's own are dropped at its bridge port."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from tests.lab import Lab, reach
from tests.packets.topology import AddressPlan, Topology, never_arrives

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")
MARK = b"a mark at the end"


def to_pal(topology: Topology, plan: AddressPlan, source: str, mac: str) -> Packet:
    return Ether(src=mac, dst=topology.mac("pal")) / plan.packet(source, plan.pal) / UDP(sport=1, dport=9)


def test_a_neighbour_sees_no_forged_address(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    eve, pal, mac = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(topology.nodes["pal"], "eth0"), topology.mac("eve")
    for source in (plan.web, plan.gateway, plan.outside, plan.loopback):
        never_arrives(eve, pal, to_pal(topology, plan, source, mac), to_pal(topology, plan, plan.eve, mac), MARK)


def test_a_neighbour_sees_no_forged_mac(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    """Else the bridge would learn the victim's MAC at eve's port and forward the victim's frames to it."""
    eve, pal = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(topology.nodes["pal"], "eth0")
    forged = to_pal(topology, plan, plan.eve, topology.mac("web"))
    never_arrives(eve, pal, forged, to_pal(topology, plan, plan.eve, topology.mac("eve")), MARK)
    assert reach(topology.nodes["pal"], plan.web, 80) == plan.pal


def test_nothing_hides_behind_a_vlan_tag(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    eve, pal, mac = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(topology.nodes["pal"], "eth0"), topology.mac("eve")
    tagged = Ether(src=mac, dst=topology.mac("pal")) / Dot1Q(vlan=0) / plan.packet(plan.web, plan.pal) / UDP(dport=9)
    never_arrives(eve, pal, tagged, to_pal(topology, plan, plan.eve, mac), MARK)


def test_the_world_sees_no_forged_address(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    eve, wire = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(topology.outside, "eth0")
    honest = topology.to_gateway() / plan.packet(plan.eve, plan.outside) / UDP(sport=2, dport=9)
    for source in (plan.shop, plan.far, plan.pal):
        forged = topology.to_gateway() / plan.packet(source, plan.outside) / UDP(sport=3, dport=9)
        never_arrives(eve, wire, forged, honest, MARK)


def test_a_source_inside_a_network_comes_by_its_bridge_alone(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    """Else a neighbour host could reach a port that is allowed for a container's subnet only."""
    wire, web = lab.tap(topology.outside, "eth0"), lab.tap(topology.nodes["web"], "eth0")
    to = topology.to_host()
    honest = to / plan.packet(plan.outside, plan.uplink) / UDP(sport=6, dport=8080)
    for source in (plan.pal, plan.shop):
        never_arrives(wire, web, to / plan.packet(source, plan.uplink) / UDP(sport=7, dport=8080), honest, MARK)
    assert reach(topology.nodes["shop"], plan.uplink, 8080) == plan.shop
    assert reach(topology.machine, plan.gateway, 8080) is not None


def test_where_there_is_no_guard_the_host_still_drops_what_is_not_of_the_network(
    topology: Topology, lab: Lab, plan: AddressPlan
) -> None:
    """rogue, which has no filter, can forge addresses of its own subnet only."""
    rogue, wire = lab.tap(topology.nodes["rogue"], "eth0"), lab.tap(topology.outside, "eth0")
    pal = lab.tap(topology.nodes["pal"], "eth0")
    rogue.send(to_pal(topology, plan, plan.web, topology.mac("rogue")) / MARK)
    pal.expect(lambda p: plan.is_from(p, plan.web) and bytes(p).endswith(MARK))
    honest = topology.to_gateway() / plan.packet(plan.web, plan.outside) / UDP(sport=4, dport=9)
    for source in (plan.shop, plan.far):
        forged = topology.to_gateway() / plan.packet(source, plan.outside) / UDP(sport=5, dport=9)
        never_arrives(rogue, wire, forged, honest, MARK)
