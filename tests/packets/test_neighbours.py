"""ARP and neighbour discovery between the containers of a network and their gateway."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.utils6 import in6_getnsma, in6_getnsmac

from tests.lab import Lab, reach
from tests.packets.topology import BOOKS, Topology

FOUR, SIX = BOOKS[4], BOOKS[6]


def who_has(address: str) -> Ether:
    return Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(op="who-has", hwsrc="02:42:ac:12:00:03", psrc=FOUR.pal, pdst=address)


def solicitation(address: str, source: str = SIX.pal, mac: str = "02:42:ac:12:00:03") -> Ether:
    """Return a neighbour solicitation to the solicited-node multicast group of *address*."""
    group = in6_getnsma(socket.inet_pton(socket.AF_INET6, address))
    to = IPv6(src=source, dst=socket.inet_ntop(socket.AF_INET6, group), hlim=255)
    return Ether(dst=in6_getnsmac(group)) / to / ICMPv6ND_NS(tgt=address) / ICMPv6NDOptSrcLLAddr(lladdr=mac)


@pytest.mark.parametrize("whom", ["web", "gateway"])
def test_a_question_about_an_ipv4_address_is_answered_to_the_asker_alone(
    topology: Topology, lab: Lab, whom: str
) -> None:
    expected = topology.mac("web") if whom == "web" else topology.macs["nd-front"]
    pal, eve = lab.tap(topology.nodes["pal"], "eth0"), lab.tap(topology.nodes["eve"], "eth0")
    pal.send(who_has(getattr(FOUR, whom)))
    answer = pal.expect(lambda p: ARP in p and p[ARP].op == 2 and p[ARP].psrc == getattr(FOUR, whom))
    assert (answer[ARP].hwsrc, answer[Ether].src, answer[Ether].dst) == (expected, expected, topology.mac("pal"))
    eve.expect(lambda p: ARP in p and p[ARP].op == 1 and p[ARP].pdst == getattr(FOUR, whom))
    eve.refuse(lambda p: ARP in p and p[ARP].op == 2, timeout=0)


@pytest.mark.parametrize("whom", ["web", "gateway"])
def test_a_question_about_an_ipv6_address_is_answered(topology: Topology, lab: Lab, whom: str) -> None:
    expected = topology.mac("web") if whom == "web" else topology.macs["nd-front"]
    pal = lab.tap(topology.nodes["pal"], "eth0")
    pal.send(solicitation(getattr(SIX, whom)))
    answer = pal.expect(lambda p: ICMPv6ND_NA in p and p[ICMPv6ND_NA].tgt == getattr(SIX, whom))
    assert answer[ICMPv6NDOptDstLLAddr].lladdr == expected
    assert answer[ICMPv6ND_NA].S == 1 and answer[IPv6].hlim == 255


def test_questions_stay_on_their_network(topology: Topology, lab: Lab) -> None:
    pal, shop = lab.tap(topology.nodes["pal"], "eth0"), lab.tap(topology.nodes["shop"], "eth0")
    for question in (who_has(FOUR.shop), solicitation(SIX.shop)):
        pal.send(question)
    pal.refuse(lambda p: ARP in p and p[ARP].psrc == FOUR.shop)
    pal.refuse(lambda p: ICMPv6ND_NA in p and p[ICMPv6ND_NA].tgt == SIX.shop, timeout=0)
    shop.refuse(lambda p: p.src == topology.mac("pal"), timeout=0)


def test_an_address_that_changed_hands_is_learnt_without_a_question(topology: Topology, lab: Lab) -> None:
    """A container announces its addresses in both families when it starts, and when its MAC changes.

    The test changes the MAC, because announcements at the start can be lost while the bridge opens the port.
    """
    pal = topology.nodes["pal"]
    late = topology.move_in("late", 77)
    for address in map(str, (interface.ip for interface in late.addresses)):
        reach(pal, address, 9)
        assert pal.json(f"neigh show {address}")[0]["lladdr"] == late.mac
    taps = lab.tap(pal, "eth0"), lab.tap(topology.nodes["web"], "eth0")
    changed = replace(late, mac="02:42:00:00:00:77")
    topology.site.want(changed)
    topology.site.converge()
    heard = taps[0].expect(lambda p: ARP in p and p[ARP].psrc == "172.18.0.77")
    assert (heard[ARP].hwsrc, heard[Ether].dst) == (changed.mac, "ff:ff:ff:ff:ff:ff")
    heard = taps[1].expect(lambda p: ICMPv6ND_NA in p and p[ICMPv6ND_NA].tgt == "fd00:18::4d")
    assert heard[ICMPv6NDOptDstLLAddr].lladdr == changed.mac and heard[ICMPv6ND_NA].O == 1
    for address in map(str, (interface.ip for interface in late.addresses)):
        assert pal.json(f"neigh show {address}")[0]["lladdr"] == changed.mac
    topology.move_out(changed)
