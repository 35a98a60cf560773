"""Packets that test whether the host forwards, and the commands that permit what other programs' rules drop."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from netd.host_protocol import Probe
from netd.kernel import forward_probe
from netd.kernel.firewall.forwarding.chains import ForeignRule, ForwardChain
from netd.kernel.firewall.forwarding.remedies import remedy
from tests.kernel.conftest import Site, port, set_bridge_filter
from tests.lab import Lab

DROPS = {
    "iptables": "iptables-legacy -P FORWARD DROP; ip6tables-nft -P FORWARD DROP",
    "nft": "nft 'table inet admin { chain f { type filter hook forward priority 0; policy drop; }; }'",
}


@pytest.fixture
def site(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(forward_probe, "_TIMEOUT", 0.2)
    made = Site(lab, tmp_path / "run", "nftables", direct="off")
    set_bridge_filter(made, on=True)
    made.outside.ip("route add default via 198.51.100.1")
    made.machine.ip("route add default via 198.51.100.2")
    made.machine.ip("route add default via 2001:db8:51::2")
    front = made.network("front", "172.18.0.1/16", "fd00:18::1/64")
    web = made.container("web", front, 2)
    made.container("pal", front, 3)
    made.converge()
    made.publish(port(8080, web, 80), port(8080, web, 80, address="::"))
    yield made
    made.close()


def probes(site: Site) -> dict[str, bool | None]:
    """Send one packet of each kind; nobody listens on the published port."""
    found = {}
    for web, pal, outside in (("172.18.0.2", "172.18.0.3", "192.0.2.1"), ("fd00:18::2", "fd00:18::3", "2001:db8::1")):
        source, other, remote = map(ip_address, (web, pal, outside))
        kinds = [
            Probe("outgoing", "web", source, remote, 9),
            Probe("within", "web", source, other, 0, receiver="pal"),
            Probe("published", "", remote, source, 8080, protocol="tcp"),
        ]
        found |= {f"{probe.traffic} {source.version}": site.do(site.host.probe(probe)) for probe in kinds}
    return found


@pytest.mark.parametrize("drop", DROPS)
def test_a_drop_is_found_by_rules_and_by_packets_and_the_printed_command_permits_it(site: Site, drop: str) -> None:
    assert set(probes(site).values()) == {True}
    links = site.machine.links()
    site.machine.command("sh", "-c", DROPS[drop])
    assert set(probes(site).values()) == {False}
    assert site.machine.links() == links
    found = site.do(site.host.dropped_traffic(read_again=True))
    assert {(entry.traffic, entry.family) for entry in found} == {
        (traffic, family) for traffic in ("outgoing", "published", "same network") for family in (4, 6)
    }
    for command in dict.fromkeys(entry.remedy for entry in found):
        site.machine.command("sh", "-c", command)
    assert site.do(site.host.dropped_traffic(read_again=True)) == []
    assert set(probes(site).values()) == {True}


def test_without_a_route_outside_a_probe_says_so(site: Site) -> None:
    site.machine.ip("route del default")
    probe = Probe("outgoing", "web", ip_address("172.18.0.2"), ip_address("192.0.2.1"), 9)
    assert site.do(site.host.probe(probe)) is None


FIREWALLD = "firewall-cmd --permanent --zone=trusted --add-interface=br0 && firewall-cmd --reload"


@pytest.mark.parametrize(
    ("chain", "bridge", "command"),
    [
        ("ip filter FORWARD ufw-before-forward", "nd-a", "ufw route allow in on nd-+ && ufw route allow out on nd-+"),
        ("inet firewalld filter_FORWARD", "br0", FIREWALLD),
        ("bridge b f", "nd-a", "nft 'insert rule bridge b f iifname \"nd*\" accept'"),
    ],
)
def test_the_command_is_that_of_the_program_that_manages_the_chain(chain: str, bridge: str, command: str) -> None:
    family, table, *chains = chain.split()
    rules: dict[str, tuple[ForeignRule, ...]] = dict.fromkeys(chains, ())
    assert remedy(ForwardChain("nftables", family, table, chains[0], 0, "drop", rules), bridge, 0) == command


def test_with_a_mark_of_the_operator_the_command_matches_the_mark() -> None:
    chain = ForwardChain("iptables-legacy", "ip6", "filter", "FORWARD", 0, "drop", {})
    assert remedy(chain, "nd-a", 0x100) == "ip6tables-legacy -I FORWARD -m mark --mark 0x100/0x100 -j ACCEPT"
