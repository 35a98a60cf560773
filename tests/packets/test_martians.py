"""Martians: packets with loopback addresses are accepted from the host itself only.

The host reaches a port published at 127.0.0.1 or ::1 through NAT, which requires ``route_localnet`` on the bridges, so
that 127.0.0.0/8 is routed.  Received packets with such addresses are forged.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet import TCP, UDP

from tests.kernel.conftest import port
from tests.lab import Lab, family, reach
from tests.packets.topology import AddressPlan, Topology

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")


@pytest.fixture
def local(topology: Topology, lab: Lab, plan: AddressPlan) -> Iterator[int]:
    """A port of *web* that is published at loopback; the host's own server is on the next port."""
    topology.site.publish(port(8090, topology.pairs["web"], 80, address=plan.loopback))
    lab.echo(topology.machine, 8091, address=plan.loopback)
    assert reach(topology.machine, plan.loopback, 8090) == plan.gateway
    yield 8090
    topology.site.published = {rule for rule in topology.site.published if rule.port != 8090}
    topology.site.publish()


def test_a_neighbour_host_that_routes_loopback_here_gets_nothing(
    topology: Topology, lab: Lab, plan: AddressPlan, local: int
) -> None:
    inside, attacker = lab.tap(topology.nodes["web"], "eth0"), lab.tap(topology.outside, "eth0")
    to = topology.to_host()
    for number in (local, local + 1):
        attacker.send(to / plan.packet(plan.outside, plan.loopback) / TCP(sport=4444, dport=number, flags="S"))
    attacker.send(to / plan.packet(plan.outside, plan.uplink) / TCP(sport=4445, dport=8080, flags="S"))
    before = attacker.until(lambda p: TCP in p and p[TCP].dport == 4445 and plan.is_from(p, plan.uplink))
    assert not [p.summary() for p in before if TCP in p and p[TCP].dport == 4444]
    inside.refuse(lambda p: TCP in p and 4444 in (p[TCP].sport, p[TCP].dport), timeout=0)


@pytest.mark.parametrize("who", ["eve", "rogue", "web"])
def test_a_container_does_not_reach_the_hosts_loopback(
    topology: Topology, lab: Lab, plan: AddressPlan, local: int, who: str
) -> None:
    own = getattr(plan, who)
    attacker, inside = lab.tap(topology.nodes[who], "eth0"), lab.tap(topology.nodes["web"], "eth0")
    for number in (local, local + 1):
        packet = plan.packet(own, plan.loopback) / TCP(sport=4446, dport=number, flags="S")
        attacker.send(topology.to_gateway() / packet)
    attacker.send(topology.to_gateway() / plan.packet(own, plan.uplink) / UDP(sport=4447, dport=8080) / b"x")
    inside.expect(lambda p: UDP in p and p[UDP].dport == 80)
    arrived = [p for p in (inside.find(lambda p: TCP in p and p[TCP].dport == 80, timeout=0),) if p is not None]
    assert not [p.summary() for p in arrived if p[TCP].sport == 4446]
    attacker.refuse(lambda p: TCP in p and p[TCP].dport == 4446, timeout=0.05)


@pytest.mark.parametrize("who", ["eve", "rogue"])
def test_a_container_cannot_pose_as_the_hosts_loopback(
    topology: Topology, lab: Lab, plan: AddressPlan, who: str
) -> None:
    """Even without the anti-spoofing filter, on a host that accepts packets from its own addresses."""
    topology.machine.sysctl("net/ipv4/conf/nd-front/accept_local", "1")
    own = getattr(plan, who)
    attacker = lab.tap(topology.nodes[who], "eth0")
    with topology.machine.run(lambda: socket.socket(family(plan.gateway), socket.SOCK_DGRAM)) as server:
        server.bind(("::" if family(plan.gateway) == socket.AF_INET6 else "0.0.0.0", 8093))
        server.settimeout(2)
        for source in (plan.loopback, own):
            attacker.send(topology.to_gateway() / plan.packet(source, plan.gateway) / UDP(sport=5, dport=8093) / b"x")
        assert server.recvfrom(10)[1][0] == own
