"""With ``host_firewall`` respect, the host's own input rules decide which external traffic reaches published ports."""

from __future__ import annotations

import shutil
import socket
from collections import Counter

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from netd.facts import Pair
from tests.kernel.conftest import OUTSIDE, OUTSIDE6, UPLINK, UPLINK6, Site, port
from tests.lab import Node, all_unreachable, family, reach, unreachable

pytestmark = pytest.mark.usefixtures("backend")
GATEWAY, GATEWAY6 = "172.18.0.1", "fd00:18::1"
PROTOCOLS = ("tcp", "udp")
ADMIN = """
table inet admin {
  chain input {
    type filter hook input priority 10; policy drop;
    ct state established,related accept
    iifname "lo" accept
    meta l4proto { icmp, ipv6-icmp } accept
    th dport { 8080, 9001 } accept
  }
}
"""
STRICT = """
table inet strict {
  chain output {
    type filter hook output priority 0; policy drop;
    ct state established accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
  }
}
"""
LEGACY = """
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p PING -j ACCEPT
-A INPUT -p tcp -m multiport --dports 8080,9001 -j ACCEPT
-A INPUT -p udp -m multiport --dports 8080,9001 -j ACCEPT
COMMIT
"""


def nftables(machine: Node) -> None:
    machine.nft(ADMIN)


def legacy(machine: Node) -> None:
    for program, ping in (("iptables-legacy-restore", "icmp"), ("ip6tables-legacy-restore", "ipv6-icmp")):
        assert shutil.which(program), f"the tests need {program}: install iptables"
        machine.command(program, stdin=LEGACY.replace("PING", ping))


def _flow(packet: Packet) -> tuple[str, int] | None:
    """Return the client's address and port of a packet to a published port."""
    inner = packet[IP] if IP in packet else packet.getlayer(IPv6) or packet
    for layer in (TCP, UDP):
        if layer in inner and inner[layer].dport == 8080:
            return inner.src, inner[layer].sport
    return None


@pytest.fixture
def web(site: Site) -> Pair:
    """A container published on 8080, which the host's rules accept, on 8081, which they drop, and by a range."""
    site.respect = True
    web = site.container("web", site.network("front", f"{GATEWAY}/16", f"{GATEWAY6}/64"), 2)
    site.container("shop", site.network("mall", "172.20.0.1/16", "fd00:20::1/64"), 2)
    site.converge()
    for protocol in PROTOCOLS:
        for address in ("0.0.0.0", "::"):
            for number in (80, 9001, 9002):
                site.lab.echo(site.inside("web"), number, protocol, address)
            for number in (8080, 8081):
                site.publish(port(number, web, 80, address=address, protocol=protocol))
            site.publish(port(9001, web, 9001, address=address, protocol=protocol, count=2))
    return web


@pytest.mark.parametrize(("rules", "strict"), [(nftables, True), (legacy, False)], ids=["nftables-rp_filter", "legacy"])
def test_only_what_the_host_lets_in_reaches_what_is_published(site: Site, web: Pair, rules, strict: bool) -> None:
    rules(site.machine)
    if strict:
        site.machine.command("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    for protocol in PROTOCOLS:
        for to, client in ((UPLINK, OUTSIDE), (UPLINK6, OUTSIDE6)):
            for number in (8080, 9001):
                assert reach(site.outside, to, number, protocol) == client, (to, number, protocol)
    assert all_unreachable(
        (site.outside, to, number, protocol, "")
        for protocol in PROTOCOLS
        for to in (UPLINK, UPLINK6)
        for number in (8081, 9002)
    )


def test_the_host_and_the_containers_are_not_outside(site: Site, web: Pair) -> None:
    nftables(site.machine)
    for protocol in PROTOCOLS:
        for to, own in ((UPLINK, "172.20.0.2"), (UPLINK6, "fd00:20::2")):
            assert reach(site.machine, to, 8081, protocol) == to
            assert reach(site.inside("shop"), to, 8081, protocol) == own


@pytest.mark.parametrize("to", [UPLINK, UPLINK6])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_only_the_first_packet_is_recirculated(site: Site, web: Pair, to: str, protocol: str) -> None:
    tap = site.lab.tap(site.machine, "netdq1")
    assert reach(site.outside, to, 8080, protocol)
    if protocol == "udp":
        with site.outside.run(lambda: socket.socket(family(to), socket.SOCK_DGRAM)) as client:
            client.settimeout(2)
            client.connect((to, 8080))
            for _ in range(5):
                client.send(b"x")
                assert client.recv(64)
    flows = Counter[tuple[str, int]]()
    tap.refuse(lambda p: flows.update([flow]) if (flow := _flow(p)) else False)
    assert list(flows.values()) == ([1, 1] if protocol == "udp" else [1]), flows


def test_a_host_that_drops_what_leaves_it_has_to_let_the_copy_out(site: Site, web: Pair) -> None:
    site.machine.nft(STRICT)
    assert unreachable(site.outside, UPLINK, 8080)
    site.machine.nft('add rule inet strict output oifname "netdq0" accept')
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE
    assert reach(site.outside, UPLINK6, 8080) == OUTSIDE6


def test_fragments_are_recirculated_completely(site: Site, web: Pair) -> None:
    with site.outside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(2)
        client.sendto(bytes(1900), (UPLINK, 8080))
        assert client.recv(64).decode().split()[0] == OUTSIDE


def test_the_hosts_own_servers_are_reached(site: Site, web: Pair) -> None:
    nftables(site.machine)
    site.machine.nft("insert rule inet admin input th dport 7000 accept")
    for address, to, client in (("0.0.0.0", UPLINK, OUTSIDE), ("::", UPLINK6, OUTSIDE6)):
        site.lab.echo(site.machine, 7000, address=address)
        assert reach(site.outside, to, 7000) == client


def test_the_allowed_are_those_that_the_port_was_published_for_and_the_host_lets_in(site: Site, web: Pair) -> None:
    nftables(site.machine)
    site.published = {port(8080, web, 80, address=UPLINK, allow=["198.51.100.2/32"])}
    site.publish()
    site.outside.ip("addr add 198.51.100.3/24 dev eth0")
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE
    assert unreachable(site.outside, UPLINK, 8080, source="198.51.100.3")


def test_an_unpublished_port_is_available_to_the_host(site: Site, web: Pair) -> None:
    site.published.clear()
    site.publish()
    site.lab.echo(site.machine, 8080)
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE


def test_the_recirculation_exists_only_if_enabled_and_is_removed_completely(site: Site) -> None:
    site.machine.nft(ADMIN)
    before = site.machine.snapshot()
    web = site.container("web", site.network("front", f"{GATEWAY}/16"), 2)
    site.converge()
    site.publish(port(8080, web, 80))
    ignoring = site.ours()
    assert ignoring
    site.respect = True
    site.publish()
    assert {"netdq0", "netdq1"} <= site.machine.links() and site.ours() != ignoring
    site.respect = False
    site.publish()
    assert site.ours() == ignoring
    assert not {"netdq0", "netdq1"} & site.machine.links()
    site.respect = True
    site.publish()
    site.do(site.host.remove_everything())
    assert site.machine.snapshot() == before


def test_a_removed_recirculation_is_restored(site: Site, web: Pair) -> None:
    site.machine.ip("link del netdq0")
    assert unreachable(site.outside, UPLINK, 8080)
    site.do(site.host.reset_firewall(site.ruleset()))
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE


FIB = "table inet rpf {{ chain p {{ type filter hook prerouting priority {}; icmpv6 type > 130 accept; {} drop; }}; }}"
LEGACY_RPF = "for p in iptables ip6tables; do $p-legacy -t raw -A PREROUTING -m rpfilter {} --invert -j DROP; done"
FILTERS = {
    "strict": f"nft '{FIB.format(10, 'fib saddr . iif oif missing')}'",
    "loose": f"nft '{FIB.format(-140, 'fib saddr oif missing')}'",
    "firewalld": f"nft '{FIB.format(-140, 'meta nfproto ipv6 fib saddr . mark . iif oif missing')}'",
    "legacy-strict": LEGACY_RPF.format(""),
    "legacy-loose": LEGACY_RPF.format("--loose"),
    "legacy-mark": LEGACY_RPF.format("--validmark"),
    "sysctl-strict": "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1",
    "sysctl-loose": "sysctl -qw net.ipv4.conf.all.rp_filter=2",
}


@pytest.mark.parametrize("name", FILTERS)
def test_reverse_path_filters_of_the_host_accept_the_second_arrival(site: Site, web: Pair, name: str) -> None:
    site.machine.command("sh", "-c", FILTERS[name])
    for to, client in ((UPLINK, OUTSIDE), (UPLINK6, OUTSIDE6)):
        assert reach(site.outside, to, 8080) == client
        assert reach(site.outside, to, 8080, "udp") == client
    site.outside.ip("addr add 203.0.113.9/32 dev lo")
    assert unreachable(site.outside, UPLINK, 8080, source="203.0.113.9")


def test_the_hosts_own_reverse_path_setting_is_restored(site: Site) -> None:
    site.machine.sysctl("net/ipv4/conf/lo/rp_filter", "1")
    site.network("front", f"{GATEWAY}/16")
    site.respect = True
    site.publish()
    assert site.machine.sysctl("net/ipv4/conf/lo/rp_filter") == "2"
    site.reopen()
    site.publish()
    site.respect = False
    site.publish()
    assert site.machine.sysctl("net/ipv4/conf/lo/rp_filter") == "1"
