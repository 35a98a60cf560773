"""Gateway modes, allowed sources of published ports, masquerading sources, spoofed sources, and MTUs."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from netd.common.addresses import Family
from netd.facts import Pair
from netd.portmap.rules import GatewayMode, Opened, Treatment
from tests.kernel.conftest import BRIDGE_FILTER, OUTSIDE, OUTSIDE6, UPLINK, UPLINK6, Site, port
from tests.lab import PATIENCE, SILENCE, Node, all_unreachable, reach, unreachable

pytestmark = pytest.mark.usefixtures("backend")
BOTH = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
EVERY = {4: "0.0.0.0", 6: "::"}
UPLINKS, OUTSIDES = {4: UPLINK, 6: UPLINK6}, {4: OUTSIDE, 6: OUTSIDE6}
SHOPS = {4: "172.20.0.2", 6: "fd00:20::2"}
GATEWAYS = {4: "172.18.0.1", 6: "fd00:18::1"}


def address(pair: Pair, version: Family) -> str:
    return next(str(address.ip) for address in pair.addresses if address.version == version)


class Topology:
    """*web* on ``front``, whose treatment the test sets, *shop* on ``mall``; there are routes between all of them."""

    def __init__(self, site: Site, **rules: object) -> None:
        self.site = site
        front = site.network("front", "172.18.0.1/16", "fd00:18::1/64", **rules)
        mall = site.network("mall", "172.20.0.1/16", "fd00:20::1/64")
        self.web = site.container("web", front, 2)
        self.shop = site.container("shop", mall, 2)
        site.converge()
        site.publish()
        for wide, via in (("172.16.0.0/12", UPLINK), ("fd00::/16", UPLINK6)):
            site.outside.ip(f"route add {wide} via {via}")
        for every in EVERY.values():
            for number in (80, 81):
                site.lab.echo(site.inside("web"), number, address=every)

    @property
    def inside(self) -> Node:
        return self.site.inside("web")

    def at(self, version: Family) -> str:
        return address(self.web, version)


def treated(mode: GatewayMode, **more: object) -> dict[str, Treatment]:
    return {"ipv4": Treatment(mode=mode, **more), "ipv6": Treatment(mode=mode, **more)}


def ping(site: Site, to: str, version: Family, timeout: float = SILENCE) -> bool:
    """Return whether an echo request from outside reaches *web* within *timeout* seconds."""
    inside = site.lab.tap(site.inside("web"), "eth0")
    attacker = site.lab.tap(site.outside, "eth0")
    ip, echo = (IP, ICMP(id=77)) if version == 4 else (IPv6, ICMPv6EchoRequest(id=77))
    attacker.send(Ether(dst=site.machine.mac("eth0")) / ip(src=OUTSIDES[version], dst=to) / echo)
    return inside.find(lambda p: type(echo) in p and p[type(echo)].id == 77, timeout) is not None


# Modes


@BOTH
def test_nat_lets_nothing_come_to_a_containers_own_address(site: Site, version: Family) -> None:
    topology = Topology(site)
    assert unreachable(site.outside, topology.at(version), 80)
    assert unreachable(site.inside("shop"), topology.at(version), 80)
    assert not ping(site, topology.at(version), version)


@BOTH
def test_unprotected_lets_everything_come_and_still_hides_what_leaves(site: Site, version: Family) -> None:
    topology = Topology(site, **treated(GatewayMode.UNPROTECTED))
    assert reach(site.outside, topology.at(version), 80) == OUTSIDES[version]
    assert reach(site.inside("shop"), topology.at(version), 81) == address(topology.shop, version)
    assert ping(site, topology.at(version), version, PATIENCE)
    site.lab.echo(site.outside, 80, address=EVERY[version])
    assert reach(topology.inside, OUTSIDES[version], 80) == UPLINKS[version]
    site.publish(port(8080, topology.web, 80, address=EVERY[version]))
    assert reach(site.outside, UPLINKS[version], 8080) == OUTSIDES[version]


@BOTH
def test_routed_lets_pings_and_opened_ports_come_and_hides_nothing(site: Site, version: Family) -> None:
    topology = Topology(site, **treated(GatewayMode.ROUTED))
    assert ping(site, topology.at(version), version, PATIENCE)
    assert unreachable(site.outside, topology.at(version), 80)
    site.opened = {Opened("tcp", ip_address(topology.at(version)), 80)}
    site.publish()
    assert reach(site.outside, topology.at(version), 80) == OUTSIDES[version]
    assert reach(site.inside("shop"), topology.at(version), 80) == address(topology.shop, version)
    assert unreachable(site.outside, topology.at(version), 81)
    site.opened = {Opened("tcp", ip_address(topology.at(version)), 80, 2)}
    site.publish()
    assert reach(site.outside, topology.at(version), 81) == OUTSIDES[version]
    site.opened.clear()
    site.publish()
    assert unreachable(site.outside, topology.at(version), 80)
    site.lab.echo(site.outside, 80, address=EVERY[version])
    assert reach(topology.inside, OUTSIDES[version], 80) == topology.at(version)


@BOTH
def test_isolated_is_closed_both_ways(site: Site, version: Family) -> None:
    topology = Topology(site, internal=True, **treated(GatewayMode.ISOLATED))
    assert unreachable(site.outside, topology.at(version), 80)
    assert not ping(site, topology.at(version), version)
    site.lab.echo(site.outside, 80, address=EVERY[version])
    assert unreachable(topology.inside, OUTSIDES[version], 80)


def test_the_families_of_one_network_are_treated_each_on_its_own(site: Site) -> None:
    topology = Topology(site, ipv4=Treatment(), ipv6=Treatment(mode=GatewayMode.ROUTED))
    assert not ping(site, topology.at(4), 4)
    assert ping(site, topology.at(6), 6, PATIENCE)
    for every in EVERY.values():
        site.lab.echo(site.outside, 80, address=every)
    assert reach(topology.inside, OUTSIDE, 80) == UPLINK
    assert reach(topology.inside, OUTSIDE6, 80) == topology.at(6)


@BOTH
def test_a_trusted_link_leads_to_the_containers_own_addresses(site: Site, version: Family) -> None:
    topology = Topology(site, trusted=("eth0",))
    assert reach(site.outside, topology.at(version), 80) == OUTSIDES[version]
    assert unreachable(site.inside("shop"), topology.at(version), 80)


@BOTH
def test_a_network_hides_behind_the_address_that_it_was_given(site: Site, version: Family) -> None:
    second = {4: "198.51.100.9", 6: "2001:db8:51::9"}[version]
    # Not the source that the kernel selects by default.
    more = "64 nodad preferred_lft 0" if version == 6 else "24"
    site.machine.ip(f"addr add {second}/{more} dev eth0")
    topology = Topology(site, **{f"ipv{version}": Treatment(source=ip_address(second))})
    site.lab.echo(site.outside, 80, address=EVERY[version])
    assert reach(topology.inside, OUTSIDES[version], 80) == second
    assert reach(site.inside("shop"), OUTSIDES[version], 80) == UPLINKS[version]


def test_loopback_of_ipv6_is_refused_at_once_where_its_answers_would_be_lost(site: Site, bridge_filter: bool) -> None:
    """A refused client tries 127.0.0.1 next; without a refusal it waits for minutes."""
    for sysctl in BRIDGE_FILTER.parent.glob("bridge-nf-call-ip*tables"):
        site.machine.run(lambda sysctl=sysctl: sysctl.write_text(str(int(bridge_filter))))
    topology = Topology(site)
    site.publish(port(8080, topology.web, 80, address="::"), port(8080, topology.web, 80))
    assert reach(site.machine, "127.0.0.1", 8080) == GATEWAYS[4]
    if bridge_filter:
        with site.machine.run(lambda: socket.socket(socket.AF_INET6)) as client, pytest.raises(ConnectionRefusedError):
            client.connect(("::1", 8080))
    else:
        assert reach(site.machine, "::1", 8080) == GATEWAYS[6]


# Who may come


@BOTH
def test_only_the_allowed_come_to_a_published_port(site: Site, version: Family) -> None:
    topology = Topology(site)
    other = {4: "198.51.100.3", 6: "2001:db8:51::3"}[version]
    site.outside.ip(f"addr add {other}/{24 if version == 4 else 64} dev eth0 {'nodad' if version == 6 else ''}")
    allow = [f"{OUTSIDES[version]}/{32 if version == 4 else 128}", "192.0.2.0/24", "192.0.2.128/25", "2001:db8:9::/48"]
    up = UPLINKS[version]
    site.publish(
        port(8080, topology.web, 80, address=EVERY[version], allow=allow),
        port(8081, topology.web, 80, address=up, allow=allow),
        port(80, topology.web, 80, address=EVERY[version], count=2, allow=allow),
        port(9090, topology.web, 80, address=EVERY[version]),
    )
    for number in (8080, 8081, 80, 81):
        assert reach(site.outside, up, number, source=OUTSIDES[version]) == OUTSIDES[version], number
        assert reach(site.machine, up, number), "the host itself is always allowed"
    strangers = ((site.outside, other), (site.inside("shop"), ""))
    assert all_unreachable((node, up, number, "tcp", own) for node, own in strangers for number in (8080, 8081, 80, 81))
    assert reach(site.outside, up, 9090, source=other) == other
    # The published port decides: the same container port is also published without a restriction.
    site.published = {
        port(80, topology.web, 81, address=EVERY[version]),
        port(81, topology.web, 80, address=up, allow=allow),
    }
    site.publish()
    assert reach(site.outside, up, 80, source=other) == other
    assert unreachable(site.outside, up, 81, source=other)


def test_allowing_others_leaves_those_that_are_connected(site: Site) -> None:
    topology = Topology(site)
    site.publish(port(8080, topology.web, 8000))
    with topology.inside.run(lambda: socket.create_server(("0.0.0.0", 8000))) as server:
        with site.outside.run(lambda: socket.create_connection((UPLINK, 8080), timeout=2)) as client:
            inside, _ = server.accept()
            with inside:
                site.published = {port(8080, topology.web, 8000, allow=["192.0.2.0/24"])}
                site.publish()
                client.send(b"still here")
                inside.settimeout(2)
                assert inside.recv(64) == b"still here"
    assert unreachable(site.outside, UPLINK, 8080)


@BOTH
def test_opened_ports_of_routed_networks_have_their_allowed_too(site: Site, version: Family) -> None:
    topology = Topology(site, **treated(GatewayMode.ROUTED))
    opened = Opened("tcp", ip_address(topology.at(version)), 80)
    [net] = [p.allow[0] for p in [port(1, topology.web, 1, address=EVERY[version], allow=[f"{OUTSIDES[version]}"])]]
    site.opened = {replace(opened, allow=(net,))}
    site.publish()
    assert reach(site.outside, topology.at(version), 80) == OUTSIDES[version]
    assert unreachable(site.inside("shop"), topology.at(version), 80)


# Spoofing, sizes


@BOTH
def test_sources_of_other_networks_do_not_leave_a_bridge(site: Site, version: Family) -> None:
    """Nor reach the host.  The sender is no container but a machine on the bridge, whose port has no filter."""
    Topology(site)
    site.machine.command("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.nd-front.rp_filter=0")
    stranger = site.lab.make_host("stranger")
    link = site.lab.wire(site.machine, stranger)
    site.machine.ip(f"link set {link} master nd-front")
    own = {4: "172.18.0.9", 6: "fd00:18::9"}[version]
    stranger.ip(f"addr add {own}/{16 if version == 4 else 64} dev {link} {'nodad' if version == 6 else ''}")
    attacker = site.lab.tap(stranger, link)
    outside = site.lab.tap(site.outside, "eth0")
    ip, mac = (IP if version == 4 else IPv6), site.machine.mac("nd-front")
    with site.machine.run(lambda: _server(version)) as server:
        for number, source in enumerate((SHOPS[version], OUTSIDES[version], own), 5001):
            for to in (OUTSIDES[version], GATEWAYS[version]):
                attacker.send(Ether(dst=mac) / ip(src=source, dst=to) / UDP(sport=number, dport=9) / b"x")
        seen = outside.expect(lambda p: UDP in p and p[UDP].dport == 9)
        assert (seen[ip].src, seen[UDP].sport) == (UPLINKS[version], 5003), (
            "the first packet that leaves has the correct source"
        )
        assert server.recvfrom(10)[1][0] == own


def _server(version: Family) -> socket.socket:
    server = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    server.settimeout(2)
    server.bind((EVERY[version], 9))
    return server


@BOTH
def test_segments_are_no_larger_than_the_way_takes(site: Site, version: Family) -> None:
    """Both the neighbour and the container learn the uplink's smaller MTU."""
    topology = Topology(site)
    site.machine.ip("link set eth0 mtu 1400")
    site.publish(port(8080, topology.web, 80, address=EVERY[version]))
    site.lab.echo(site.outside, 80, address=EVERY[version])
    outside, inside = site.lab.tap(site.outside, "eth0"), site.lab.tap(topology.inside, "eth0")
    most = 1400 - (40 if version == 4 else 60)
    assert reach(topology.inside, OUTSIDES[version], 80)
    assert _mss(outside.expect(lambda p: _is_syn(p, 80))) == most
    assert reach(site.outside, UPLINKS[version], 8080)
    assert _mss(outside.expect(lambda p: TCP in p and p[TCP].sport == 8080 and p[TCP].flags == "SA")) == most
    assert _mss(inside.expect(lambda p: TCP in p and p[TCP].sport == 80 and p[TCP].flags == "SA")) <= most


def _is_syn(packet: Packet, number: int) -> bool:
    return TCP in packet and packet[TCP].dport == number and packet[TCP].flags == "S"


def _mss(packet: Packet) -> int:
    return dict(packet[TCP].options)["MSS"]
