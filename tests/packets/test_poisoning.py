"""Poisoning: forged ARP and neighbour discovery packets do not change the caches of others."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from netd.common.mac import link_local
from tests.lab import Lab, Node, reach
from tests.packets.topology import BOOKS, AddressPlan, Topology

FOUR, SIX = BOOKS[4], BOOKS[6]
EVERYBODY = "ff:ff:ff:ff:ff:ff"


def arp_lies(eve: str, about: str, to: str) -> list[Packet]:
    """Return an unsolicited reply, an announcement, and a request with a forged sender."""
    return [
        Ether(src=eve, dst=to) / ARP(op=2, hwsrc=eve, psrc=about, hwdst=to, pdst=about),
        Ether(src=eve, dst=EVERYBODY) / ARP(op=1, hwsrc=eve, psrc=about, pdst=about),
        Ether(src=eve, dst=EVERYBODY) / ARP(op=1, hwsrc=eve, psrc=about, pdst=FOUR.pal),
    ]


def ndp_lies(eve: str, about: str, to: str) -> list[Packet]:
    own, all_nodes = link_local(eve).compressed, "ff02::1"
    claim = ICMPv6ND_NA(tgt=about, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=eve)
    asking = ICMPv6ND_NS(tgt=SIX.pal) / ICMPv6NDOptSrcLLAddr(lladdr=eve)
    return [
        Ether(src=eve, dst="33:33:00:00:00:01") / IPv6(src=own, dst=all_nodes, hlim=255) / claim,
        Ether(src=eve, dst="33:33:00:00:00:01") / IPv6(src=about, dst=all_nodes, hlim=255) / claim,
        Ether(src=eve, dst=to) / IPv6(src=about, dst=SIX.pal, hlim=255) / asking,
    ]


def said(packet: Packet) -> set[str]:
    """Return the addresses that a packet claims for its sender."""
    kinds = ((ARP, "psrc"), (IPv6, "src"), (ICMPv6ND_NA, "tgt"))
    return {getattr(packet[kind], name) for kind, name in kinds if kind in packet}


def believed(node: Node, address: str) -> str:
    return node.json(f"neigh show {address}")[0]["lladdr"]


def honest(eve: str) -> Packet:
    """Return a valid packet of eve; its arrival shows that earlier packets were handled."""
    return Ether(src=eve, dst=EVERYBODY) / ARP(op=1, hwsrc=eve, psrc=FOUR.eve, pdst="172.18.9.9")


@pytest.mark.parametrize("about", ["gateway", "web"])
def test_a_containers_neighbour_cache_is_not_poisoned(
    topology: Topology, lab: Lab, plan: AddressPlan, about: str
) -> None:
    pal, eve, lied_about = topology.nodes["pal"], topology.mac("eve"), getattr(plan, about)
    right = topology.mac("web") if about == "web" else topology.macs["nd-front"]
    reach(pal, lied_about, 9)
    assert believed(pal, lied_about) == right
    tap, listening = lab.tap(topology.nodes["eve"], "eth0"), lab.tap(pal, "eth0")
    for lie in (arp_lies if plan is FOUR else ndp_lies)(eve, lied_about, topology.mac("pal")):
        tap.send(lie)
    tap.send(honest(eve))
    before = listening.until(lambda p: ARP in p and p[ARP].pdst == "172.18.9.9")
    assert not [packet.summary() for packet in before if packet.src == eve and lied_about in said(packet)]
    assert believed(pal, lied_about) == right
    assert reach(pal, plan.web, 80) == plan.pal


def test_the_hosts_neighbour_cache_is_not_poisoned(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    reach(topology.machine, plan.web, 80)
    tap, eve = lab.tap(topology.nodes["eve"], "eth0"), topology.mac("eve")
    bridge = lab.tap(topology.machine, "nd-front")
    for lie in (arp_lies if plan is FOUR else ndp_lies)(eve, plan.web, topology.macs["nd-front"]):
        tap.send(lie)
    tap.send(honest(eve))
    before = bridge.until(lambda p: ARP in p and p[ARP].pdst == "172.18.9.9")
    assert not [packet.summary() for packet in before if packet.src == eve and plan.web in said(packet)]
    assert believed(topology.machine, plan.web) == topology.mac("web")
    assert reach(topology.machine, plan.web, 80) == plan.gateway


def test_without_a_guard_the_forged_packets_are_accepted(topology: Topology, lab: Lab, plan: AddressPlan) -> None:
    """Shows that the filter causes the results of the tests above."""
    pal, rogue = topology.nodes["pal"], topology.mac("rogue")
    reach(pal, plan.web, 9)
    tap, listening = lab.tap(topology.nodes["rogue"], "eth0"), lab.tap(pal, "eth0")
    for lie in (arp_lies if plan is FOUR else ndp_lies)(rogue, plan.web, topology.mac("pal")):
        tap.send(lie)
    listening.expect(lambda p: p.src == rogue and plan.web in said(p))
    assert believed(pal, plan.web) == rogue
    family = 4 if plan is FOUR else 6
    pal.ip(f"-{family} neigh flush all")
    assert reach(pal, plan.web, 80) == plan.pal
