"""Segments: bridges joined to one network, observed as the same facts, repaired, removed completely."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.l2 import ARP, Ether

from netd.common.errors import KernelRefused
from netd.facts import Bridge, Pair, Segment
from netd.kernel.netlink.rtnl import RETIRED_GROUP
from netd.portmap.rules import ForwardPolicy
from tests.kernel.conftest import OUTSIDE, UPLINK, Site, make_pair, port, set_bridge_filter
from tests.lab import reach, unreachable

SEGMENTS = ("nds12345678-1", "nds12345678-2")


def place(site: Site, *, isolated: bool = False) -> tuple[Bridge, list[Pair]]:
    """Apply a network of three bridges with a container on each, and a second one on the last."""
    bridge = site.network("front", "172.18.0.1/16", isolated=isolated)
    site.want(*(Segment(name=name, bridge=bridge.name, mtu=1500, isolated=isolated) for name in SEGMENTS))
    where = {"one": bridge.name, "two": SEGMENTS[0], "three": SEGMENTS[1], "four": SEGMENTS[1]}
    pairs = []
    for last, (sandbox, name) in enumerate(where.items(), 2):
        pair = site.container(sandbox, bridge, last)
        site.unwant(pair)
        pairs.append(replace(make_pair(sandbox, bridge, last, isolated=isolated), bridge=name))
        site.want(pairs[-1])
    return bridge, pairs


def test_segments_are_one_network(site: Site) -> None:
    before = site.machine.snapshot()
    _, pairs = place(site)
    site.converge()
    site.publish()
    assert site.have() == site.wanted
    for sandbox in ("one", "two", "three", "four"):
        site.lab.echo(site.inside(sandbox), 80)
    for sandbox, pair in zip(("one", "two", "three", "four"), pairs, strict=True):
        address = str(pair.addresses[0].ip)
        assert reach(site.machine, address, 80) == "172.18.0.1"
        for other in pairs:
            assert reach(site.inside(sandbox), str(other.addresses[0].ip), 80) == address
    site.reopen()
    assert site.have() == site.wanted
    site.do(site.host.remove_everything())
    assert site.machine.snapshot() == before


@pytest.mark.parametrize("on", [False, True], ids=["", "br_netfilter"])
def test_containers_on_segments_reach_outside_and_published_ports(site: Site, backend: str, on: bool) -> None:
    """Also where br_netfilter passes the packets of each bridge, and another program's chain forwards nothing."""
    set_bridge_filter(site, on)
    site.policy = ForwardPolicy()
    site.reopen()
    site.machine.nft("table inet admin { chain f { type filter hook forward priority 0; policy drop; }; }")
    _, pairs = place(site)
    site.converge()
    site.publish(port(8080, pairs[0], 80), port(8081, pairs[1], 80))
    for node in (site.outside, site.inside("one"), site.inside("two")):
        site.lab.echo(node, 80)
    for sandbox, published in (("two", 8080), ("three", 8080), ("one", 8081), ("three", 8081)):
        assert reach(site.inside(sandbox), UPLINK, published) == "172.18.0.1"
    for sandbox in ("one", "two", "four"):
        assert reach(site.inside(sandbox), OUTSIDE, 80) == UPLINK
    for published in (8080, 8081):
        assert reach(site.outside, UPLINK, published) == OUTSIDE


def test_only_the_first_bridge_answers_arp_queries_for_the_gateway(site: Site) -> None:
    bridge, pairs = place(site)
    site.converge()
    gateway = site.machine.mac(bridge.name)
    tap = site.lab.tap(site.inside("two"), "eth0")
    query = ARP(hwsrc=pairs[1].mac, psrc="172.18.0.3", pdst="172.18.0.1")
    tap.send(Ether(dst="ff:ff:ff:ff:ff:ff") / query)
    tap.expect(lambda packet: ARP in packet and packet[ARP].hwsrc == gateway)
    tap.send(Ether(dst="ff:ff:ff:ff:ff:ff") / query)
    tap.refuse(lambda packet: ARP in packet and packet[ARP].op == 2 and packet[ARP].hwsrc != gateway)
    site.machine.sysctl(f"net/ipv4/conf/{SEGMENTS[0]}/arp_ignore", "0")
    assert site.have() != site.wanted
    site.converge()


def test_containers_kept_apart_are_apart_on_all_segments(site: Site) -> None:
    _, pairs = place(site, isolated=True)
    site.converge()
    site.publish()
    site.lab.echo(site.machine, 80)
    for sandbox in ("one", "two", "three", "four"):
        site.lab.echo(site.inside(sandbox), 80)
    for sandbox, pair in zip(("one", "two", "three", "four"), pairs, strict=True):
        assert reach(site.inside(sandbox), "172.18.0.1", 80) == str(pair.addresses[0].ip)
        assert reach(site.machine, str(pair.addresses[0].ip), 80) == "172.18.0.1"
    for sandbox, other in (("one", 1), ("two", 0), ("two", 2), ("three", 3)):
        assert unreachable(site.inside(sandbox), str(pairs[other].addresses[0].ip), 80)


@pytest.mark.parametrize(
    "damage",
    [
        "link del nds12345678-1",
        "link del ndj12345678-1a",
        "link set ndj12345678-1b nomaster",
        "link set ndj12345678-1a nomaster",
        "link set ndj12345678-1a down",
        "link set nds12345678-1 down",
        "link set nds12345678-1 mtu 1400",
        "link set ndj12345678-1a type bridge_slave isolated on",
        "link del nd-front",
    ],
)
def test_damage_to_a_segment_is_observed_and_repaired(site: Site, damage: str) -> None:
    place(site)
    site.converge()
    site.machine.ip(damage)
    assert site.have() != site.wanted
    site.converge()
    site.lab.echo(site.inside("one"), 80)
    assert reach(site.inside("two"), "172.18.0.2", 80) == "172.18.0.3"


def test_what_is_left_of_a_segment_goes_with_it(site: Site) -> None:
    before = site.machine.snapshot()
    bridge = site.network("front", "172.18.0.1/16")
    site.want(Segment(name=SEGMENTS[0], bridge=bridge.name, mtu=1500))
    site.converge()
    site.machine.ip(f"link del {SEGMENTS[0]}")
    site.reopen()
    site.do(site.host.remove_everything())
    assert site.machine.snapshot() == before


def test_a_bridge_full_of_retired_ports_takes_a_new_one(site: Site) -> None:
    """A retired veth occupies its bridge port until it is deleted."""
    bridge = site.network("front", "172.18.0.1/16")
    site.converge()
    adding = f"link add fill{{0}} group 1 master {bridge.name} type vxlan dstport 0 id {{0}}"
    site.machine.command("ip", "-batch", "-", stdin="\n".join(map(adding.format, range(1, 1024))))
    site.machine.ip(f"link set fill7 group {RETIRED_GROUP}")
    site.container("web", bridge, 2)
    site.converge()
    assert "fill7" not in site.machine.links()
    site.container("db", bridge, 3)
    with pytest.raises(KernelRefused, match="Exchange full"):
        site.converge()
    site.machine.ip("link del group 1")
