"""What packets do: who reaches whom, and under which address."""

from __future__ import annotations

import inspect
import socket
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from netd.facts import Pair
from netd.host_protocol import Flows
from tests.kernel.conftest import BRIDGE_FILTER, OUTSIDE, UPLINK, Site, port, set_bridge_filter
from tests.lab import Node, reach, unreachable

pytestmark = pytest.mark.usefixtures("backend")
GATEWAY, SHOP_GATEWAY = "172.18.0.1", "172.20.0.1"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run over both firewalls; over iptables with br_netfilter only what differs there."""
    if "bridge_filter" not in metafunc.fixturenames:
        return
    kinds = [("nftables", False), ("nftables", True), ("iptables", False)]
    if "bridge_filter" in inspect.signature(metafunc.function).parameters:
        kinds.append(("iptables", True))
    if not BRIDGE_FILTER.exists():
        kinds = [kind for kind in kinds if not kind[1]]
    ids = [f"{backend}{'-br_netfilter' * bridged}" for backend, bridged in kinds]
    metafunc.parametrize(("backend", "bridge_filter"), kinds, ids=ids)


class Town:
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
def town(site: Site, bridge_filter: bool) -> Town:
    set_bridge_filter(site, bridge_filter)
    return Town(site)


def address(pair: Pair) -> str:
    return str(pair.addresses[0].ip)


# ------------------------------------------------------------------------------------------ without publishing


def test_containers_of_one_network_reach_each_other_under_their_own_addresses(town: Town) -> None:
    assert reach(town.node("pal"), address(town.web), 80) == address(town.pal)
    assert reach(town.site.machine, address(town.web), 80) == GATEWAY


def test_masquerade_hides_a_container_behind_the_uplink(town: Town) -> None:
    town.site.lab.echo(town.site.outside, 80)
    assert reach(town.node("web"), OUTSIDE, 80) == UPLINK


@pytest.mark.parametrize(("of", "to"), [("web", "shop"), ("shop", "web"), ("web", "vault"), ("vault", "web")])
def test_networks_are_closed_to_each_other(town: Town, of: str, to: str) -> None:
    assert unreachable(town.node(of), address(getattr(town, to)), 80)
    assert unreachable(town.node(of), address(getattr(town, to)), 80, "udp")


def test_an_internal_network_is_closed_to_the_world_and_open_to_the_host(town: Town) -> None:
    town.site.lab.echo(town.site.outside, 80)
    outside = town.site.lab.tap(town.site.outside, "eth0")
    assert unreachable(town.node("vault"), OUTSIDE, 80)
    outside.refuse(lambda p: IP in p and p[IP].dst == OUTSIDE, timeout=0)
    assert reach(town.site.machine, address(town.vault), 80) == "172.21.0.1"


def test_an_unpublished_port_is_not_reached_by_routing_to_the_network(town: Town) -> None:
    town.site.outside.ip(f"route add 172.16.0.0/12 via {UPLINK}")
    tap = town.site.lab.tap(town.node("web"), "eth0")
    assert unreachable(town.site.outside, address(town.web), 80)
    assert unreachable(town.site.outside, address(town.vault), 80)
    tap.refuse(lambda p: IP in p and p[IP].src == OUTSIDE)


def test_a_published_port_is_not_reached_by_the_containers_own_address(town: Town) -> None:
    town.site.publish(port(8080, town.web, 80))
    town.site.outside.ip(f"route add 172.16.0.0/12 via {UPLINK}")
    assert unreachable(town.site.outside, address(town.web), 80)
    assert unreachable(town.node("shop"), address(town.web), 80)


def test_answers_from_outside_come_back_and_errors_with_them(town: Town) -> None:
    """A closed UDP port outside is told to the container: ICMP errors are related to its packet."""
    with town.node("web").run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(2)
        client.connect((OUTSIDE, 9))
        client.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            client.recv(10)


# ------------------------------------------------------------------------------------------ published ports


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_published_port_is_reached_from_everywhere_under_the_right_address(
    town: Town, bridge_filter: bool, protocol: str
) -> None:
    town.site.publish(port(8080, town.web, 80, protocol=protocol))
    seen = {
        "another host": reach(town.site.outside, UPLINK, 8080, protocol),
        "the host by its own address": reach(town.site.machine, UPLINK, 8080, protocol),
        "the host by the bridge's address": reach(town.site.machine, GATEWAY, 8080, protocol),
        "the host by another bridge's address": reach(town.site.machine, SHOP_GATEWAY, 8080, protocol),
        "the host by 127.0.0.1": reach(town.site.machine, "127.0.0.1", 8080, protocol),
        "another network": reach(town.node("shop"), UPLINK, 8080, protocol),
        "another network by its gateway": reach(town.node("shop"), SHOP_GATEWAY, 8080, protocol),
        "a neighbour on its network": reach(town.node("pal"), UPLINK, 8080, protocol),
        "a neighbour by the gateway": reach(town.node("pal"), GATEWAY, 8080, protocol),
        "itself": reach(town.node("web"), UPLINK, 8080, protocol),
    }
    assert seen == {
        "another host": OUTSIDE,
        "the host by its own address": UPLINK,
        "the host by the bridge's address": GATEWAY,
        "the host by another bridge's address": SHOP_GATEWAY,
        "the host by 127.0.0.1": GATEWAY,
        "another network": address(town.shop),
        "another network by its gateway": address(town.shop),
        "a neighbour on its network": address(town.pal) if bridge_filter else GATEWAY,
        "a neighbour by the gateway": address(town.pal) if bridge_filter else GATEWAY,
        "itself": GATEWAY,
    }


def test_an_internal_network_does_not_reach_what_is_published(town: Town) -> None:
    town.site.publish(port(8080, town.web, 80))
    assert unreachable(town.node("vault"), UPLINK, 8080)


def test_an_internal_network_is_closed_even_to_what_is_published_there(town: Town) -> None:
    town.site.publish(port(8080, town.vault, 80))
    inside = town.site.lab.tap(town.node("vault"), "eth0")
    assert unreachable(town.site.outside, UPLINK, 8080)
    assert unreachable(town.node("web"), UPLINK, 8080)
    inside.refuse(lambda p: TCP in p, timeout=0)


def test_a_port_published_on_one_address_is_there_only(town: Town) -> None:
    town.site.publish(port(8080, town.web, 80, address=UPLINK), port(8081, town.web, 80, address="127.0.0.1"))
    assert reach(town.site.outside, UPLINK, 8080) == OUTSIDE
    assert unreachable(town.site.machine, "127.0.0.1", 8080)
    assert reach(town.site.machine, "127.0.0.1", 8081) == GATEWAY
    assert unreachable(town.site.outside, UPLINK, 8081)
    assert unreachable(town.site.machine, UPLINK, 8081)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_ranges_keep_their_numbers_and_shifted_ranges_are_shifted(town: Town, protocol: str) -> None:
    for number in (9000, 9004):
        town.site.lab.echo(town.node("web"), number, protocol)
    town.site.publish(
        port(9000, town.web, 9000, protocol=protocol, count=5),
        port(7000, town.web, 9000, protocol=protocol, count=5, address=UPLINK),
        port(6000, town.web, 9000, protocol=protocol, count=5),
    )
    for number in (9000, 9004, 7000, 7004, 6000, 6004):
        assert reach(town.site.outside, UPLINK, number, protocol) == OUTSIDE, number
    for number in (8999, 9005, 7005, 5999):
        assert unreachable(town.site.outside, UPLINK, number, protocol), number


def test_an_equal_range_on_one_address_is_there_only(town: Town) -> None:
    town.site.lab.echo(town.node("web"), 9001)
    town.site.publish(port(9000, town.web, 9000, count=5, address="127.0.0.1"))
    assert reach(town.site.machine, "127.0.0.1", 9001) == GATEWAY
    assert unreachable(town.site.outside, UPLINK, 9001)


def test_what_is_no_longer_published_is_no_longer_reached(town: Town) -> None:
    town.site.publish(port(8080, town.web, 80), port(9000, town.web, 9000, count=5))
    town.site.published.clear()
    town.site.publish(port(8080, town.shop, 80))
    assert reach(town.site.outside, UPLINK, 8080) == OUTSIDE
    town.site.published.clear()
    town.site.publish()
    assert unreachable(town.site.outside, UPLINK, 8080)


def test_the_hosts_own_servers_are_untouched_by_what_is_published(town: Town) -> None:
    town.site.publish(port(8080, town.web, 80))
    town.site.lab.echo(town.site.machine, 8081)
    assert reach(town.site.outside, UPLINK, 8081) == OUTSIDE
    assert reach(town.site.machine, "127.0.0.1", 8081) == "127.0.0.1"
    assert reach(town.node("web"), GATEWAY, 8081) == address(town.web)


def test_a_published_port_does_not_catch_what_is_meant_for_others(town: Town) -> None:
    town.site.publish(port(8080, town.web, 81))
    town.site.lab.echo(town.site.outside, 8080)
    assert reach(town.site.machine, OUTSIDE, 8080) == UPLINK
    assert reach(town.node("pal"), OUTSIDE, 8080) == UPLINK
    assert reach(town.site.outside, "127.0.0.1", 8080) == "127.0.0.1"


# ------------------------------------------------------------------------------------------ attacks


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
    # Not by way of the host's forwarding either.
    attacker.send(syn(address(first), address(two), 80, site.machine.mac("nd-alone")))
    victim.refuse(lambda p: IP in p and p[IP].src == address(first))
    assert reach(site.inside("one"), OUTSIDE, 80) == UPLINK
    if not bridge_filter:  # with it, a neighbour's published port is reached between ports, which isolation forbids
        assert reach(site.inside("one"), UPLINK, 8080) == "172.22.0.1"


# ------------------------------------------------------------------------------------------ connection tracking


def test_flows_of_an_address_that_changed_hands_are_forgotten(town: Town) -> None:
    """A UDP client that never pauses keeps its old translation until told otherwise."""
    town.site.publish(port(8080, town.web, 80, protocol="udp"))
    with town.site.outside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(2)
        client.connect((UPLINK, 8080))
        inside = town.site.lab.tap(town.node("shop"), "eth0")

        def ask() -> None:
            client.send(b"x")
            client.recv(64)

        ask()
        town.site.published.clear()
        town.site.publish(port(8080, town.shop, 80, protocol="udp"))
        ask()
        inside.refuse(lambda p: UDP in p, timeout=0.1)
        town.site.do(town.site.host.delete_flows(Flows(frozenset({IPv4Address(address(town.web))}))))
        ask()
        inside.expect(lambda p: UDP in p and p[IP].src == OUTSIDE)


def test_flows_to_a_port_that_was_published_under_way_are_forgotten(town: Town) -> None:
    town.site.lab.echo(town.site.machine, 8080, "udp")
    with town.site.outside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(2)
        client.connect((UPLINK, 8080))
        client.send(b"x")
        client.recv(64)
        inside = town.site.lab.tap(town.node("web"), "eth0")
        published = port(8080, town.web, 80, protocol="udp")
        town.site.publish(published)
        town.site.do(town.site.host.delete_flows(Flows(opened=(published,))))
        client.send(b"x")
        client.recv(64)
        inside.expect(lambda p: UDP in p and p[IP].src == OUTSIDE)


@pytest.mark.parametrize("others", [0, 3000])
def test_other_flows_are_kept_whatever_their_number(town: Town, others: int) -> None:
    """Short tables are read whole, long ones searched by the kernel: both find the same."""
    town.site.publish(port(8080, town.web, 80, protocol="udp"))
    with town.site.outside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(2)
        client.sendto(b"x", (UPLINK, 8080))
        client.recv(64)
        for number in range(others):
            client.sendto(b"x", (UPLINK, 20000 + number))
    assert reach(town.node("shop"), GATEWAY, 9, "udp", timeout=0.05) is None
    town.site.do(town.site.host.delete_flows(Flows(frozenset({IPv4Address(address(town.web))}))))
    left = town.site.machine.command("conntrack", "-L", "-p", "udp")
    assert address(town.web) not in left
    assert address(town.shop) in left
