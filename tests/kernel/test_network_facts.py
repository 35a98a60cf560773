"""Everything that makes a network work is compared with the kernel: damage is noticed, named and repaired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from netd.facts import Bridge
from netd.host_protocol import Change
from netd.portmap.rules import RulesetChange
from tests.kernel.conftest import OUTSIDE, OUTSIDE6, UPLINK, Site, port
from tests.kernel.test_changes import noticed
from tests.lab import Lab, reach

BRIDGE, PORT = "nd-front", "ndpwebront"


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A network with a published port in a host that each test damages and repairs again."""
    lab = Lab()
    site = Site(lab, tmp_path_factory.mktemp("site") / "run", "nftables")
    web = site.container("web", site.network("front", "172.18.0.1/16", "fd00:18::1/64"), 2)
    site.converge()
    site.publish(port(8080, web, 80), port(8080, web, 80, address="::"))
    for address in ("0.0.0.0", "::"):
        lab.echo(site.inside("web"), 80, address=address)
        lab.echo(site.outside, 7, address=address)
    works(site)
    assert not site.steps()
    yield site
    site.close()
    lab.close()


def repaired(site: Site, name: str = BRIDGE) -> None:
    steps = site.steps()
    assert [step.fact.key[-1] for step in steps] == [name]
    site.converge()
    works(site)


def works(site: Site) -> None:
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE
    assert reach(site.outside, "2001:db8:51::1", 8080) == OUTSIDE6
    assert reach(site.machine, "127.0.0.1", 8080) is not None
    assert reach(site.inside("web"), OUTSIDE, 7) is not None
    assert reach(site.inside("web"), OUTSIDE6, 7) is not None


@pytest.mark.parametrize(
    "damage",
    [
        "route del 172.18.0.0/16",
        "route del local 172.18.0.1 table local",
        "route replace 172.18.0.0/16 dev eth0",
        "-6 route del fd00:18::/64 dev nd-front",
        "-6 route del local fd00:18::1 table local",
        "-6 route del local ::1 dev nd-front table local",
        "-6 route del fe80::/64 dev nd-front",
        "-6 route del multicast ff00::/8 dev nd-front table local",
        "-6 addr flush dev nd-front scope link",
        "link set nd-front address 02:00:00:00:00:77",
        "link set nd-front type bridge stp_state 1",
        "link set nd-front type bridge nf_call_ip6tables 1",
        "link set nd-front mtu 1000",
        "neigh replace 172.18.0.2 lladdr 02:00:00:00:00:99 dev nd-front nud permanent",
        "-6 neigh replace fd00:18::2 lladdr 02:00:00:00:00:99 dev nd-front nud permanent",
    ],
)
def test_damage_to_what_follows_from_a_bridge_is_noticed_and_repaired(damaged: Site, damage: str) -> None:
    noticed(damaged, lambda: damaged.machine.ip(damage), Change("link", BRIDGE))
    if "route replace" in damage:
        # The other program's route stays; a route with the same destination would not be added a second time.
        damaged.machine.ip("route del 172.18.0.0/16 dev eth0")
    repaired(damaged)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net/ipv4/conf/nd-front/forwarding", "0"),
        ("net/ipv4/conf/nd-front/route_localnet", "0"),
        ("net/ipv4/conf/nd-front/proxy_arp", "1"),
        ("net/ipv4/conf/nd-front/accept_redirects", "1"),
        ("net/ipv6/conf/nd-front/forwarding", "0"),
        ("net/ipv6/conf/nd-front/accept_ra", "2"),
        ("net/ipv6/conf/nd-front/disable_ipv6", "1"),
    ],
)
def test_a_changed_sysctl_of_a_bridge_is_noticed_and_repaired(damaged: Site, name: str, value: str) -> None:
    kind = "address" if name.endswith("disable_ipv6") else "link"
    noticed(damaged, lambda: damaged.machine.sysctl(name, value), Change(kind, BRIDGE))
    repaired(damaged)
    assert damaged.machine.sysctl(name) != value


@pytest.mark.parametrize(
    "setting", ["hairpin off", "learning off", "flood off", "mcast_flood off", "state 0", "locked on"]
)
def test_a_changed_attribute_of_a_port_is_noticed_and_repaired(damaged: Site, setting: str) -> None:
    command = ("bridge", "link", "set", "dev", PORT, *setting.split())
    noticed(damaged, lambda: damaged.machine.command(*command), Change("link", PORT))
    repaired(damaged, name=PORT)


def test_the_routes_of_a_foreign_bridge_are_repaired(site: Site) -> None:
    site.machine.ip("link add br0 type bridge")
    adopted = Bridge(
        name="br0",
        addresses=site.network("front", "172.18.0.1/16").addresses,
        mtu=1500,
        localnet=True,
        owned=False,
    )
    site.wanted.clear()
    site.want(adopted)
    site.converge()
    noticed(site, lambda: site.machine.ip("route del 172.18.0.0/16"), Change("link", "br0"))
    site.converge()
    noticed(site, lambda: site.machine.sysctl("net/ipv4/conf/br0/route_localnet", "0"), Change("link", "br0"))
    site.converge()


def test_a_bridge_forwards_whatever_the_settings_of_new_links_are(site: Site) -> None:
    site.machine.sysctl("net/ipv4/ip_forward", "1")
    site.machine.sysctl("net/ipv4/conf/default/forwarding", "0")
    site.network("front", "172.18.0.1/16")
    site.network("inner", "172.19.0.1/16", internal=True)
    site.converge()
    site.do(site.host.change_firewall(RulesetChange(added=site.ruleset())))
    assert site.machine.sysctl("net/ipv4/conf/nd-front/forwarding") == "1"
    assert site.machine.sysctl("net/ipv4/conf/nd-inner/forwarding") == "0"
    assert not site.steps()


def test_a_difference_that_is_known_is_reported_once(site: Site) -> None:
    """Until it changes: a repair that does not converge must not cause further repairs."""
    front = site.network("front", "172.18.0.1/16")
    site.converge()
    noticed(site, lambda: site.machine.ip("route del 172.18.0.0/16"), Change("link", BRIDGE))
    [step] = site.steps()
    assert step.previous == replace(front, faults=("route 172.18.0.0/16",))
    site.machine.sysctl("net/ipv4/conf/nd-front/route_localnet", "0")
    noticed(site, lambda: None, Change("link", BRIDGE))


def test_link_local_addresses_are_usable_at_once(site: Site) -> None:
    front = site.network("front", "172.18.0.1/16", "fd00:18::1/64")
    site.container("web", front, 2)
    site.converge()
    [link] = site.inside("web").json("-6 addr show dev eth0")
    flags = {entry["local"]: entry for entry in link["addr_info"]}
    assert {local for local, entry in flags.items() if entry.get("tentative")} == set()
    assert any(local.startswith("fe80::") for local in flags)


def test_a_network_of_link_local_addresses_converges(site: Site) -> None:
    site.container("web", site.network("local", "172.18.0.1/16", "fe80::1/64"), 2)
    site.converge()
    assert site.have() == site.wanted
    site.reopen()
    assert site.have() == site.wanted
    assert "via fe80::1 dev eth0" in site.inside("web").ip("-6 route show default")
