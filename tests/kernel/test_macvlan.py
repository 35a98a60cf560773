"""Macvlan links: created, observed as the same facts, repaired, removed completely."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface

import pytest

from netd.common.errors import KernelRefused
from netd.facts import DefaultRoute, HostLink, HostRoute, Macvlan, MacvlanMode, Namespace, Step, Verb
from tests.kernel.conftest import OUTSIDE, UPLINK, Site
from tests.lab import reach, unreachable

ACCESS = HostLink(name="ndm0123456789", parent="eth0", mac="02:42:01:23:45:67", addresses=(), mtu=1500)


def container(site: Site, name: str, last: int, mode: MacvlanMode = MacvlanMode.BRIDGE, **kwargs) -> Macvlan:
    site.want(Namespace(sandbox=name))
    link = Macvlan(
        parent="eth0",
        mode=mode,
        sandbox=name,
        inside="eth0",
        mac=f"02:42:c6:33:64:{last:02x}",
        addresses=(IPv4Interface(f"198.51.100.{last}/24"),),
        mtu=1500,
        **kwargs,
    )
    site.want(link)
    return link


def with_access(site: Site, *links: Macvlan) -> None:
    site.want(ACCESS, *(HostRoute(link=ACCESS.name, destination=IPv4Network(link.addresses[0].ip)) for link in links))


def test_containers_are_neighbours_of_the_host(site: Site) -> None:
    before = site.machine.snapshot()
    container(site, "web", 10)
    container(site, "db", 11)
    site.want(DefaultRoute(sandbox="web", gateway=IPv4Address(OUTSIDE)))
    site.converge()
    assert site.have() == site.wanted
    site.lab.echo(site.inside("web"), 80)
    site.lab.echo(site.outside, 80)
    assert reach(site.outside, "198.51.100.10", 80) == OUTSIDE
    assert reach(site.inside("db"), "198.51.100.10", 80) == "198.51.100.11"
    assert reach(site.inside("db"), OUTSIDE, 80) == "198.51.100.11"
    assert unreachable(site.machine, "198.51.100.10", 80)
    site.reopen()
    assert site.have() == site.wanted
    site.do(site.host.remove_everything())
    assert site.machine.snapshot() == before


def test_private_links_reach_only_what_is_beyond_the_parent(site: Site) -> None:
    for last, name in ((10, "web"), (11, "db")):
        container(site, name, last, MacvlanMode.PRIVATE)
    site.converge()
    site.lab.echo(site.inside("web"), 80)
    assert reach(site.outside, "198.51.100.10", 80) == OUTSIDE
    assert unreachable(site.inside("db"), "198.51.100.10", 80)
    site.want(
        replace(next(fact for fact in site.wanted.values() if isinstance(fact, Macvlan)), mode=MacvlanMode.BRIDGE)
    )
    site.converge()


def known_routes(site: Site) -> set[tuple[str, str]]:
    """Return destination and link of the host's routes, without flags, which change with the carrier."""
    return {(route["dst"], route["dev"]) for route in site.machine.json("route show")}


def test_the_host_reaches_its_containers_by_a_link_of_its_own(site: Site) -> None:
    routes = known_routes(site)
    web, db = container(site, "web", 10), container(site, "db", 11)
    with_access(site, web)
    site.converge()
    assert site.have() == site.wanted
    site.lab.echo(site.inside("web"), 80)
    site.lab.echo(site.inside("db"), 80)
    site.lab.echo(site.machine, 81)
    site.lab.echo(site.outside, 80)
    assert reach(site.machine, "198.51.100.10", 80) == UPLINK
    assert reach(site.inside("web"), UPLINK, 81) == "198.51.100.10"
    assert unreachable(site.machine, "198.51.100.11", 80)
    assert reach(site.machine, OUTSIDE, 80) == UPLINK
    assert known_routes(site) - routes == {("198.51.100.10", ACCESS.name)}
    site.reopen()
    assert site.have() == site.wanted
    with_access(site, db)
    site.want(replace(ACCESS, addresses=(IPv4Interface("198.51.100.9/32"), IPv6Interface("2001:db8::9/128"))))
    site.converge()
    assert reach(site.machine, "198.51.100.11", 80) == "198.51.100.9"


@pytest.mark.parametrize(
    "damage", ["link del {0}", "link set {0} down", "route flush dev {0}", "link set {0} mtu 1400", "link del eth0"]
)
def test_damage_on_the_host_is_observed_reported_and_repaired(site: Site, damage: str) -> None:
    web = container(site, "web", 10)
    with_access(site, web)
    site.converge()
    site.machine.ip(damage.format(ACCESS.name))
    assert site.have() != site.wanted
    if damage == "link del eth0":
        with pytest.raises(KernelRefused, match="the host has no link eth0, the parent"):
            site.converge()
        site.lab.wire_again(site.machine, site.outside, "eth0", "198.51.100.0/24")
    site.converge()
    site.lab.echo(site.inside("web"), 80)
    assert reach(site.machine, "198.51.100.10", 80) == UPLINK


@pytest.mark.parametrize(
    "damage",
    ["link set eth0 down", "link del eth0", "addr flush dev eth0", "link set eth0 address 02:42:00:00:00:99"],
)
def test_damage_in_the_sandbox_is_repaired(site: Site, damage: str) -> None:
    container(site, "web", 10)
    site.converge()
    site.inside("web").ip(damage)
    assert site.have() != site.wanted
    site.converge()
    site.lab.echo(site.inside("web"), 80)
    assert reach(site.outside, "198.51.100.10", 80) == OUTSIDE


def test_a_removed_link_is_silent_at_once_and_its_names_are_free(site: Site) -> None:
    web = container(site, "web", 10)
    site.converge()
    inside = site.inside("web")
    site.do(site.host.apply([Step(Verb.DEL, web)]))
    assert "eth0" not in inside.links()
    site.converge()
    site.do(site.host.apply([Step(Verb.DEL, web), Step(Verb.DEL, Namespace(sandbox="web"))]))
    assert inside.json("link show eth0")[0]["operstate"] == "DOWN"
    site.want(replace(container(site, "db", 11), mac=web.mac, addresses=web.addresses))
    site.unwant(web, Namespace(sandbox="web"))
    site.converge()
    site.lab.echo(site.inside("db"), 80)
    assert reach(site.outside, "198.51.100.10", 80) == OUTSIDE


def test_a_containers_own_macvlan_links_are_its_own(site: Site) -> None:
    container(site, "web", 10)
    site.converge()
    site.inside("web").ip("link add link eth0 name mine type macvlan mode bridge")
    assert site.have() == site.wanted


def test_a_name_that_is_taken_inside_is_told(site: Site) -> None:
    site.want(Namespace(sandbox="web"))
    site.converge()
    site.inside("web").ip("link add eth0 type bridge")
    web = container(site, "web", 10)
    with pytest.raises(KernelRefused, match="sandbox web has another interface eth0"):
        site.converge()
    site.unwant(web)
