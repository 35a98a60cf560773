"""Masquerading: packets to the outside get the host's address, and replies reach the container."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest

from tests.lab import Lab, reach, unreachable
from tests.packets.topology import AddressPlan, Topology

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_outside_hosts_see_the_hosts_address(topology: Topology, lab: Lab, plan: AddressPlan, protocol: str) -> None:
    lab.echo(topology.outside, 7001, protocol, plan.outside)
    assert reach(topology.nodes["web"], plan.outside, 7001, protocol) == plan.uplink


def test_the_answer_is_translated_back(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    """The container's address does not appear on the wire, the host's does not appear at the container."""
    inside, wire = lab.tap(topology.nodes["web"], "eth0"), lab.tap(topology.outside, "eth0")
    lab.echo(topology.outside, 7002, "udp", plan.outside)
    inside.send(topology.to_gateway() / plan.packet(plan.web, plan.outside) / UDP(sport=4001, dport=7002) / b"who")
    seen = wire.expect(lambda p: UDP in p and p[UDP].dport == 7002)
    assert (seen[plan.ip].src, seen[plan.ip].dst) == (plan.uplink, plan.outside)
    answer = inside.expect(lambda p: UDP in p and p[UDP].sport == 7002)
    assert (answer[plan.ip].src, answer[plan.ip].dst, answer[UDP].dport) == (plan.outside, plan.web, 4001)
    assert bytes(answer[UDP].payload).split() == [plan.uplink.encode(), str(seen[UDP].sport).encode()]


def test_two_containers_that_use_one_port_do_not_get_each_others_answers(
    topology: Topology, lab: Lab, plan: AddressPlan
) -> None:
    lab.echo(topology.outside, 7003, "udp", plan.outside)
    taps = {name: lab.tap(topology.nodes[name], "eth0") for name in ("web", "pal")}
    wire = lab.tap(topology.outside, "eth0")
    ports = {}
    for name, tap in taps.items():
        tap.send(
            topology.to_gateway() / plan.packet(getattr(plan, name), plan.outside) / UDP(sport=4002, dport=7003) / b"x"
        )
        ports[name] = wire.expect(lambda p: UDP in p and p[UDP].dport == 7003)[UDP].sport
    assert len(set(ports.values())) == 2
    for name, tap in taps.items():
        answer = tap.expect(lambda p: UDP in p and p[UDP].sport == 7003)
        assert bytes(answer[UDP].payload).split()[1] == str(ports[name]).encode()


def test_pings_go_out_and_come_back(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    inside, wire = lab.tap(topology.nodes["web"], "eth0"), lab.tap(topology.outside, "eth0")
    ask, answer = (ICMP(id=77), ICMP) if plan.too_big is ICMP else (ICMPv6EchoRequest(id=77), ICMPv6EchoReply)
    inside.send(topology.to_gateway() / plan.packet(plan.web, plan.outside) / ask / b"ping me")
    wire.expect(lambda p: plan.is_from(p, plan.uplink) and b"ping me" in bytes(p))
    inside.expect(lambda p: plan.is_from(p, plan.outside) and answer in p and b"ping me" in bytes(p))


def test_an_error_of_the_other_side_comes_back_with_what_it_is_about(
    topology: Topology, lab: Lab, plan: AddressPlan
) -> None:
    """The ICMP error of a closed port quotes the packet as the container sent it."""
    inside = lab.tap(topology.nodes["web"], "eth0")
    inside.send(topology.to_gateway() / plan.packet(plan.web, plan.outside) / UDP(sport=4003, dport=7999) / b"x")
    kind = ICMP if plan.too_big is ICMP else ICMPv6DestUnreach
    error = inside.expect(lambda p: kind in p and plan.is_from(p, plan.outside))
    quoted = error[kind].payload
    assert (quoted.src, quoted.dst, quoted.sport, quoted.dport) == (plan.web, plan.outside, 4003, 7999)


def test_within_a_network_and_from_the_host_nothing_is_hidden(topology: Topology, plan: AddressPlan) -> None:
    assert reach(topology.nodes["pal"], plan.web, 80) == plan.pal
    assert reach(topology.machine, plan.web, 80) == plan.gateway


def test_an_internal_network_sends_nothing_out(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    """Also after a process in the container adds a route."""
    vault, family = topology.nodes["vault"], 4 if plan.too_big is ICMP else 6
    vault.ip(f"-{family} route replace default via {'172.21.0.1' if family == 4 else 'fd00:21::1'}")
    wire = lab.tap(topology.outside, "eth0")
    lab.echo(topology.outside, 7004, address=plan.outside)
    assert unreachable(vault, plan.outside, 7004)
    wire.refuse(lambda p: plan.ip in p and p[plan.ip].dst == plan.outside, timeout=0)
