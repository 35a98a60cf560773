"""Reachability between containers, host and outside, and the source addresses seen."""

from __future__ import annotations

import inspect
import socket
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from netd.facts import Pair
from netd.host_protocol import Flows
from tests.kernel.conftest import BRIDGE_FILTER, OUTSIDE, UPLINK, UPLINK6, Site, port, set_bridge_filter
from tests.lab import Node, reach, unreachable

pytestmark = pytest.mark.usefixtures("backend")
GATEWAY, SHOP_GATEWAY = "172.18.0.1", "172.20.0.1"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run with both firewall backends; with iptables and br_netfilter only the tests whose result differs."""
    if "bridge_filter" not in metafunc.fixturenames:
        return
    kinds = [("nftables", False), ("nftables", True), ("iptables", False)]
    if "bridge_filter" in inspect.signature(metafunc.function).parameters:
        kinds.append(("iptables", True))
    if not BRIDGE_FILTER.exists():
        kinds = [kind for kind in kinds if not kind[1]]
    ids = [f"{backend}{'-br_netfilter' * bridged}" for backend, bridged in kinds]
    metafunc.parametrize(("backend", "bridge_filter"), kinds, ids=ids)


class Topology:
    """Containers *web* and *pal* on ``front``, *shop* on ``mall``, *vault* on the internal ``deep``."""

    def __init__(self, site: Site) -> None:
        self.site = site
        front = site.network("front", f"{GATEWAY}/16")
        mall = site.network("mall", f"{SHOP_GATEWAY}/16")
        deep = site.network("deep", "172.21.0.1/16", internal=True)
        self.web = site.container("web", front, 2)
        self.pal = site.container("pal", front, 3)
        self.shop = site.container("shop", mall, 2)
        self.vault = site.container("vault", deep, 2)
        site.converge()
        site.publish()
        for name in ("web", "pal", "shop", "vault"):
            site.lab.echo(site.inside(name), 80)
            site.lab.echo(site.inside(name), 80, "udp")

    def node(self, name: str) -> Node:
        return self.site.inside(name)


@pytest.fixture
def topology(site: Site, bridge_filter: bool) -> Topology:
    set_bridge_filter(site, bridge_filter)
    return Topology(site)


def address(pair: Pair) -> str:
    return str(pair.addresses[0].ip)


# Without publishing


def test_containers_of_one_network_reach_each_other_under_their_own_addresses(topology: Topology) -> None:
    assert reach(topology.node("pal"), address(topology.web), 80) == address(topology.pal)
    assert reach(topology.site.machine, address(topology.web), 80) == GATEWAY


def test_masquerade_hides_a_container_behind_the_uplink(topology: Topology) -> None:
    topology.site.lab.echo(topology.site.outside, 80)
    assert reach(topology.node("web"), OUTSIDE, 80) == UPLINK


@pytest.mark.parametrize(("of", "to"), [("web", "shop"), ("shop", "web"), ("web", "vault"), ("vault", "web")])
def test_networks_are_closed_to_each_other(topology: Topology, of: str, to: str) -> None:
    assert unreachable(topology.node(of), address(getattr(topology, to)), 80)
    assert unreachable(topology.node(of), address(getattr(topology, to)), 80, "udp")


def test_an_internal_network_is_closed_to_the_world_and_open_to_the_host(topology: Topology) -> None:
    topology.site.lab.echo(topology.site.outside, 80)
    outside = topology.site.lab.tap(topology.site.outside, "eth0")
    assert unreachable(topology.node("vault"), OUTSIDE, 80)
    outside.refuse(lambda p: IP in p and p[IP].dst == OUTSIDE, timeout=0)
    assert reach(topology.site.machine, address(topology.vault), 80) == "172.21.0.1"


def test_an_unpublished_port_is_not_reached_by_routing_to_the_network(topology: Topology) -> None:
    topology.site.outside.ip(f"route add 172.16.0.0/12 via {UPLINK}")
    tap = topology.site.lab.tap(topology.node("web"), "eth0")
    assert unreachable(topology.site.outside, address(topology.web), 80)
    assert unreachable(topology.site.outside, address(topology.vault), 80)
    tap.refuse(lambda p: IP in p and p[IP].src == OUTSIDE)


def test_a_published_port_is_not_reached_by_the_containers_own_address(topology: Topology) -> None:
    topology.site.publish(port(8080, topology.web, 80))
    topology.site.outside.ip(f"route add 172.16.0.0/12 via {UPLINK}")
    assert unreachable(topology.site.outside, address(topology.web), 80)
    assert unreachable(topology.node("shop"), address(topology.web), 80)


def test_answers_from_outside_come_back_and_errors_with_them(topology: Topology) -> None:
    """The ICMP error of a closed UDP port outside reaches the container: it is related to its packet."""
    with topology.node("web").run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(2)
        client.connect((OUTSIDE, 9))
        client.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            client.recv(10)


# Published ports


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_published_port_is_reached_from_everywhere_under_the_right_address(
    topology: Topology, bridge_filter: bool, protocol: str
) -> None:
    topology.site.publish(port(8080, topology.web, 80, protocol=protocol))
    seen = {
        "another host": reach(topology.site.outside, UPLINK, 8080, protocol),
        "the host by its own address": reach(topology.site.machine, UPLINK, 8080, protocol),
        "the host by the bridge's address": reach(topology.site.machine, GATEWAY, 8080, protocol),
        "the host by another bridge's address": reach(topology.site.machine, SHOP_GATEWAY, 8080, protocol),
        "the host by 127.0.0.1": reach(topology.site.machine, "127.0.0.1", 8080, protocol),
        "another network": reach(topology.node("shop"), UPLINK, 8080, protocol),
        "another network by its gateway": reach(topology.node("shop"), SHOP_GATEWAY, 8080, protocol),
        "a neighbour on its network": reach(topology.node("pal"), UPLINK, 8080, protocol),
        "a neighbour by the gateway": reach(topology.node("pal"), GATEWAY, 8080, protocol),
        "itself": reach(topology.node("web"), UPLINK, 8080, protocol),
    }
    assert seen == {
        "another host": OUTSIDE,
        "the host by its own address": UPLINK,
        "the host by the bridge's address": GATEWAY,
        "the host by another bridge's address": SHOP_GATEWAY,
        "the host by 127.0.0.1": GATEWAY,
        "another network": address(topology.shop),
        "another network by its gateway": address(topology.shop),
        "a neighbour on its network": GATEWAY,
        "a neighbour by the gateway": GATEWAY,
        "itself": GATEWAY,
    }


@pytest.mark.parametrize("address", [UPLINK, UPLINK6])
def test_the_first_datagram_of_a_neighbour_to_a_published_port_arrives(
    site: Site, bridge_filter: bool, address: str
) -> None:
    """With br_netfilter it leaves by the bridge's egress barrier: the host does not know the server's MAC yet."""
    set_bridge_filter(site, bridge_filter)
    front = site.network("front", f"{GATEWAY}/16", "fd00:18::1/64")
    web = site.container("web", front, 2)
    site.container("pal", front, 3)
    site.converge()
    everywhere = "::" if ":" in address else "0.0.0.0"
    site.publish(port(8080, web, 80, address=everywhere, protocol="udp"))
    site.lab.echo(site.inside("web"), 80, "udp", address=everywhere)
    assert reach(site.inside("pal"), address, 8080, "udp") in (GATEWAY, "fd00:18::1")


def test_an_internal_network_does_not_reach_what_is_published(topology: Topology) -> None:
    topology.site.publish(port(8080, topology.web, 80))
    assert unreachable(topology.node("vault"), UPLINK, 8080)


def test_an_internal_network_is_closed_even_to_what_is_published_there(topology: Topology) -> None:
    topology.site.publish(port(8080, topology.vault, 80))
    inside = topology.site.lab.tap(topology.node("vault"), "eth0")
    assert unreachable(topology.site.outside, UPLINK, 8080)
    assert unreachable(topology.node("web"), UPLINK, 8080)
    inside.refuse(lambda p: TCP in p, timeout=0)


def test_a_port_published_on_one_address_is_there_only(topology: Topology) -> None:
    topology.site.publish(
        port(8080, topology.web, 80, address=UPLINK), port(8081, topology.web, 80, address="127.0.0.1")
    )
    assert reach(topology.site.outside, UPLINK, 8080) == OUTSIDE
    assert unreachable(topology.site.machine, "127.0.0.1", 8080)
    assert reach(topology.site.machine, "127.0.0.1", 8081) == GATEWAY
    assert unreachable(topology.site.outside, UPLINK, 8081)
    assert unreachable(topology.site.machine, UPLINK, 8081)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_ranges_keep_their_numbers_and_shifted_ranges_are_shifted(topology: Topology, protocol: str) -> None:
    for number in (9000, 9004):
        topology.site.lab.echo(topology.node("web"), number, protocol)
    topology.site.publish(
        port(9000, topology.web, 9000, protocol=protocol, count=5),
        port(7000, topology.web, 9000, protocol=protocol, count=5, address=UPLINK),
        port(6000, topology.web, 9000, protocol=protocol, count=5),
    )
    for number in (9000, 9004, 7000, 7004, 6000, 6004):
        assert reach(topology.site.outside, UPLINK, number, protocol) == OUTSIDE, number
    for number in (8999, 9005, 7005, 5999):
        assert unreachable(topology.site.outside, UPLINK, number, protocol), number


def test_an_equal_range_on_one_address_is_there_only(topology: Topology) -> None:
    topology.site.lab.echo(topology.node("web"), 9001)
    topology.site.publish(port(9000, topology.web, 9000, count=5, address="127.0.0.1"))
    assert reach(topology.site.machine, "127.0.0.1", 9001) == GATEWAY
    assert unreachable(topology.site.outside, UPLINK, 9001)


def test_what_is_no_longer_published_is_no_longer_reached(topology: Topology) -> None:
    topology.site.publish(port(8080, topology.web, 80), port(9000, topology.web, 9000, count=5))
    topology.site.published.clear()
    topology.site.publish(port(8080, topology.shop, 80))
    assert reach(topology.site.outside, UPLINK, 8080) == OUTSIDE
    topology.site.published.clear()
    topology.site.publish()
    assert unreachable(topology.site.outside, UPLINK, 8080)


def test_the_hosts_own_servers_are_untouched_by_what_is_published(topology: Topology) -> None:
    topology.site.publish(port(8080, topology.web, 80))
    topology.site.lab.echo(topology.site.machine, 8081)
    assert reach(topology.site.outside, UPLINK, 8081) == OUTSIDE
    assert reach(topology.site.machine, "127.0.0.1", 8081) == "127.0.0.1"
    assert reach(topology.node("web"), GATEWAY, 8081) == address(topology.web)


def test_a_published_port_does_not_catch_what_is_meant_for_others(topology: Topology) -> None:
    topology.site.publish(port(8080, topology.web, 81))
    topology.site.lab.echo(topology.site.outside, 8080)
    assert reach(topology.site.machine, OUTSIDE, 8080) == UPLINK
    assert reach(topology.node("pal"), OUTSIDE, 8080) == UPLINK
    assert reach(topology.site.outside, "127.0.0.1", 8080) == "127.0.0.1"


# Attacks


def syn(source: str, destination: str, number: int, mac: str) -> Ether:
    return Ether(dst=mac) / IP(src=source, dst=destination) / TCP(sport=4444, dport=number, flags="S")


def test_isolated_containers_reach_the_world_but_not_each_other(site: Site, bridge_filter: bool) -> None:
    set_bridge_filter(site, bridge_filter)
    alone = site.network("alone", "172.22.0.1/16", isolated=True)
    first, two = site.container("one", alone, 2), site.container("two", alone, 3)
    site.converge()
    site.publish(port(8080, two, 80))
    site.lab.echo(site.inside("two"), 80)
    site.lab.echo(site.outside, 80)
    attacker = site.lab.tap(site.inside("one"), "eth0")
    victim = site.lab.tap(site.inside("two"), "eth0")
    assert unreachable(site.inside("one"), address(two), 80)
    # Nor through forwarding by the host.
    attacker.send(syn(address(first), address(two), 80, site.machine.mac("nd-alone")))
    victim.refuse(lambda p: IP in p and p[IP].src == address(first))
    assert reach(site.inside("one"), OUTSIDE, 80) == UPLINK
    if not bridge_filter:  # With br_netfilter the packet would pass between bridge ports, which isolation forbids.
        assert reach(site.inside("one"), UPLINK, 8080) == "172.22.0.1"


# Connection tracking


def test_flows_of_an_address_that_changed_hands_are_forgotten(topology: Topology) -> None:
    """A UDP client that sends continuously keeps its old translation until its entry is deleted."""
    topology.site.publish(port(8080, topology.web, 80, protocol="udp"))
    with topology.site.outside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(2)
        client.connect((UPLINK, 8080))
        inside = topology.site.lab.tap(topology.node("shop"), "eth0")

        def ask() -> None:
            client.send(b"x")
            client.recv(64)

        ask()
        topology.site.published.clear()
        topology.site.publish(port(8080, topology.shop, 80, protocol="udp"))
        ask()
        inside.refuse(lambda p: UDP in p, timeout=0.1)
        topology.site.do(topology.site.host.delete_flows(Flows(frozenset({IPv4Address(address(topology.web))}))))
        ask()
        inside.expect(lambda p: UDP in p and p[IP].src == OUTSIDE)


def test_flows_to_a_port_that_was_published_under_way_are_forgotten(topology: Topology) -> None:
    topology.site.lab.echo(topology.site.machine, 8080, "udp")
    with topology.site.outside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(2)
        client.connect((UPLINK, 8080))
        client.send(b"x")
        client.recv(64)
        inside = topology.site.lab.tap(topology.node("web"), "eth0")
        published = port(8080, topology.web, 80, protocol="udp")
        topology.site.publish(published)
        topology.site.do(topology.site.host.delete_flows(Flows(opened=(published,))))
        client.send(b"x")
        client.recv(64)
        inside.expect(lambda p: UDP in p and p[IP].src == OUTSIDE)


@pytest.mark.parametrize("others", [0, 3000])
def test_other_flows_are_kept_whatever_their_number(topology: Topology, others: int) -> None:
    """Short tables are dumped completely, long ones filtered by the kernel; both find the same entries."""
    topology.site.publish(port(8080, topology.web, 80, protocol="udp"))
    with topology.site.outside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(2)
        client.sendto(b"x", (UPLINK, 8080))
        client.recv(64)
        for number in range(others):
            client.sendto(b"x", (UPLINK, 20000 + number))
    assert reach(topology.node("shop"), GATEWAY, 9, "udp", timeout=0.05) is None
    topology.site.do(topology.site.host.delete_flows(Flows(frozenset({IPv4Address(address(topology.web))}))))
    left = topology.site.machine.command("conntrack", "-L", "-p", "udp")
    assert address(topology.web) not in left
    assert address(topology.shop) in left
