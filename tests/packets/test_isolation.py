"""Isolation: containers of different networks do not reach one another, whatever frames they send."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest
from scapy.layers.l2 import Ether

from tests.lab import Lab, reach, unreachable
from tests.packets.topology import AddressPlan, Topology, never_arrives

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")


def test_the_gateway_of_another_network_answers_no_ping_but_the_hosts_services_do(
    topology: Topology, lab: Lab, plan: AddressPlan
) -> None:
    eve = lab.tap(topology.nodes["eve"], "eth0")
    four = plan.too_big is ICMP
    for number, address in enumerate((plan.shop_gateway, plan.gateway, plan.uplink)):
        ping = ICMP(id=7, seq=number) if four else ICMPv6EchoRequest(id=7, seq=number)
        eve.send(topology.to_gateway() / plan.packet(plan.eve, address) / ping)
    before = eve.until(lambda p: plan.is_from(p, plan.uplink))
    answered = {packet[plan.ip].src for packet in before if plan.ip in packet and packet[plan.ip].dst == plan.eve}
    assert plan.gateway in answered and plan.shop_gateway not in answered
    lab.echo(topology.machine, 90, address="0.0.0.0" if four else "::")
    assert reach(topology.nodes["eve"], plan.shop_gateway, 90) == plan.eve


@pytest.mark.parametrize(("of", "to"), [("web", "shop"), ("shop", "web"), ("vault", "web")])
def test_networks_are_closed_to_each_other(topology: Topology, plan: AddressPlan, of: str, to: str) -> None:
    assert unreachable(topology.nodes[of], getattr(plan, to), 80)


def test_a_frame_made_for_the_gateway_is_not_forwarded_to_another_network(
    topology: Topology, lab: Lab, plan: AddressPlan
) -> None:
    sender, receiver = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(topology.nodes["shop"], "eth0")
    outside = lab.tap(topology.outside, "eth0")
    ping = ICMP() if plan.too_big is ICMP else ICMPv6EchoRequest()
    for number, payload in enumerate((TCP(sport=1, dport=80, flags="S"), TCP(sport=1, dport=80, flags="A"), ping)):
        sender.send(topology.to_gateway() / plan.packet(plan.eve, plan.shop) / payload / b"to the shop")
        sender.send(topology.to_gateway() / plan.packet(plan.eve, plan.outside) / UDP(dport=7100 + number) / b"mark")
        # Packets are processed in order: after the next packet has passed the host, this one has been handled.
        outside.expect(lambda p, number=number: UDP in p and p[UDP].dport == 7100 + number)
    receiver.refuse(lambda p: b"to the shop" in bytes(p) or plan.is_from(p, plan.eve), timeout=0)


def test_a_frame_with_anothers_mac_does_not_cross_the_bridge_between_networks(
    topology: Topology, lab: Lab, plan: AddressPlan
) -> None:
    sender, receiver = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(topology.nodes["pal"], "eth0")
    shop = lab.tap(topology.nodes["shop"], "eth0")
    packet = plan.packet(plan.eve, plan.shop) / UDP(dport=80)
    mark = f"{plan.web} crossing".encode()
    sender.send(Ether(dst=topology.mac("shop")) / packet / mark)
    sender.send(Ether(dst=topology.mac("pal")) / plan.packet(plan.eve, plan.pal) / UDP(dport=9) / mark)
    receiver.expect(lambda p: mark in bytes(p) and p.dst == topology.mac("pal"))
    shop.refuse(lambda p: mark in bytes(p), timeout=0)


def test_a_neighbour_host_that_knows_the_way_is_not_let_in(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    inside, wire = lab.tap(topology.nodes["web"], "eth0"), lab.tap(topology.outside, "eth0")
    to = topology.to_host()
    direct = to / plan.packet(plan.outside, plan.web) / UDP(sport=7200, dport=81)
    published = to / plan.packet(plan.outside, plan.uplink) / UDP(sport=7201, dport=8080)
    never_arrives(wire, inside, direct, published, f"{plan.outside} direct".encode())
