"""Every cell of the tables, tested with real connections, and cases that need forged packets."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck
from scapy.packet import Packet

from netd.common.addresses import Family
from tests.kernel.conftest import port
from tests.matrix.tables import Cell, Outcome, cells
from tests.matrix.topology import EVERY, LOOPBACK, OUTSIDES, PORTS, UPLINKS, Topology, address

FAMILIES = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


def layer(version: Family) -> type[Packet]:
    return IP if version == 4 else IPv6


@pytest.mark.parametrize("cell", cells(), ids=str)
def test_each_reaches_what_the_tables_say(topology: Topology, cell: Cell) -> None:
    assert topology.attempt(cell) is cell.must


def test_the_tables_know_every_outcome() -> None:
    assert {cell.must for cell in cells()} == set(Outcome)


@FAMILIES
@pytest.mark.parametrize("place", ["every address", "loopback"])
def test_a_neighbour_that_routes_loopback_here_gets_nothing(topology: Topology, version: Family, place: str) -> None:
    """Neither with a loopback destination nor with a loopback source."""
    inside = topology.site.lab.tap(topology.site.inside("web"), "eth0")
    attacker = topology.site.lab.tap(topology.site.outside, "eth0")
    mac, number = topology.site.machine.mac("eth0"), PORTS[place]
    for source, to in ((OUTSIDES[version], LOOPBACK[version]), (LOOPBACK[version], UPLINKS[version])):
        syn = layer(version)(src=source, dst=to) / TCP(sport=4444, dport=number, flags="S")
        attacker.send(Ether(dst=mac) / syn)
    attacker.refuse(lambda p: TCP in p and p[TCP].dport == 4444)
    inside.refuse(lambda p: TCP in p and p[TCP].sport == 4444, timeout=0)


@FAMILIES
def test_sctp_is_published_there_and_back(topology: Topology, version: Family) -> None:
    """Needs no sctp sockets: the test checks the translation of packets."""
    topology.site.publish(port(3868, topology.web, 3869, address=EVERY[version], protocol="sctp"))
    inner, outer = address(topology.web, version), UPLINKS[version]
    inside = topology.site.lab.tap(topology.site.inside("web"), "eth0")
    outside = topology.site.lab.tap(topology.site.outside, "eth0")
    ip = layer(version)
    ask = SCTP(sport=4444, dport=3868) / SCTPChunkInit(init_tag=7, a_rwnd=1500, n_out_streams=1, n_in_streams=1)
    outside.send(Ether(dst=topology.site.machine.mac("eth0")) / ip(src=OUTSIDES[version], dst=outer) / ask)
    come = inside.expect(lambda p: SCTP in p)
    assert (come[ip].src, come[ip].dst, come[SCTP].dport) == (OUTSIDES[version], inner, 3869)
    answer = SCTP(sport=3869, dport=4444, tag=7) / SCTPChunkInitAck(init_tag=9, a_rwnd=1500)
    inside.send(Ether(dst=come.src) / ip(src=inner, dst=OUTSIDES[version]) / answer)
    back = outside.expect(lambda p: SCTP in p and p[SCTP].dport == 4444)
    assert (back[ip].src, back[SCTP].sport) == (outer, 3868)
