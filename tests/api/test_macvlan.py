"""Networks of the driver macvlan: containers on the network of a host's link."""

from __future__ import annotations

import pytest

from tests.api.conftest import Site
from tests.installation import wait_until
from tests.lab import reach, unreachable

LAN = "198.51.100.0/24"


def lan(place: Site, name: str = "lan", parent: str = "eth0", **fields: object) -> dict:
    options = {"parent": parent, **fields.pop("Options", {})}
    ipam = {"Config": [{"Subnet": LAN, "Gateway": "198.51.100.2", "IPRange": "198.51.100.64/26"}]}
    return place.network(name, Driver="macvlan", Options=options, **{"IPAM": ipam, **fields})


def test_a_container_is_a_host_of_its_own_beside_the_host(place):
    before = place.links(), place.ruleset()
    lan(place)
    web = place.sandbox("web", "lan", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    db = place.sandbox("db", "lan")
    assert (web.address("lan"), web.gateway()) == ("198.51.100.64", "198.51.100.2")
    assert web.settings["Ports"] == {"80/tcp": None}
    place.lab.echo(web.node, 80)
    assert reach(place.outside, "198.51.100.64", 80) == "198.51.100.2"
    assert reach(db.node, "198.51.100.64", 80) == "198.51.100.65"
    assert db.resolve("web") == ["198.51.100.64"]
    assert unreachable(place.outside, "198.51.100.1", 8080)
    assert (place.links(), place.ruleset()) == before
    place.connect("bridge", "web", GwPriority=1)
    assert web.gateway() == "172.17.0.1"
    assert web.settings["Ports"]["80/tcp"][0]["HostPort"] == "8080"
    place.disconnect("lan", "web")
    assert "eth0" not in web.node.links()
    assert reach(place.outside, "198.51.100.1", 8080) == "198.51.100.2"
    for box in (web, db):
        box.remove()
    place.ask(204, "DELETE", "/networks/lan")


def test_several_networks_stand_on_one_parent(place):
    lan(place)
    inside = {"Config": [{"Subnet": "10.91.0.0/24"}]}
    made = lan(place, "inside", Internal=True, IPAM=inside)
    assert made["IPAM"]["Config"] == [{"Subnet": "10.91.0.0/24"}]
    box, other = place.sandbox("a", {"inside": {}}), place.sandbox("b", {"lan": {}, "inside": {}})
    assert box.gateway() is None and other.gateway() == "198.51.100.2"
    place.lab.echo(other.node, 80)
    assert reach(box.node, other.address("inside"), 80) == box.address("inside") == "10.91.0.1"


def test_the_host_reaches_its_containers_when_that_is_asked_for(place):
    auxiliary = {"host": "198.51.100.9"}
    ipam = {"Config": [{"Subnet": LAN, "IPRange": "198.51.100.64/26", "AuxiliaryAddresses": auxiliary}]}

    def seen():
        routes = [route for route in place.machine.json("route show table all") if route["dev"] in ("lo", "eth0")]
        return place.links(), place.machine.addresses(), routes

    before = seen()
    lan(place, Options={"netd.host_access": "true"}, IPAM=ipam)
    web = place.sandbox("web", "lan")
    place.lab.echo(web.node, 80)
    place.lab.echo(place.machine, 81)
    assert reach(place.machine, web.address("lan"), 80) == "198.51.100.9"
    assert reach(web.node, "198.51.100.9", 81) == web.address("lan")
    assert reach(web.node, "198.51.100.1", 81) == web.address("lan")
    web.remove()
    place.ask(204, "DELETE", "/networks/lan")
    assert seen() == before


def test_a_parent_that_vanishes_and_returns_gets_its_containers_back(site):
    lan(site, Options={"netd.host_access": "true"})
    web = site.sandbox("web", "lan")
    site.lab.echo(web.node, 80)
    assert reach(site.machine, web.address("lan"), 80) == "198.51.100.1"
    site.machine.ip("link del eth0")
    assert "eth0" not in web.node.links()
    wait_until(lambda: "the host has no link eth0" in site.log())
    site.lab.wire_again(site.machine, site.outside, "eth0", LAN)
    wait_until(lambda: "eth0" in web.node.links() and web.gateway() is not None)
    wait_until(lambda: reach(site.outside, web.address("lan"), 80, timeout=0.2))
    wait_until(lambda: reach(site.machine, web.address("lan"), 80, timeout=0.2) == "198.51.100.1")
    site.kill()
    site.machine.ip("link del eth0")
    site.start()
    site.lab.wire_again(site.machine, site.outside, "eth0", LAN)
    wait_until(lambda: reach(site.outside, web.address("lan"), 80, timeout=0.2))
    assert site.view(web.id)["NetworkSettings"]["Networks"]["lan"]["IPAddress"] == "198.51.100.64"


def test_what_outlives_a_killed_daemon_is_found_again(site):
    lan(site, Options={"netd.host_access": "true"})
    web = site.sandbox("web", "lan")
    site.lab.echo(web.node, 80)

    def places():
        found = [link for node in (site.machine, web.node) for link in node.json("addr")]
        return [(link["ifindex"], link["ifname"], link["addr_info"]) for link in found]

    before = places()
    site.kill()
    site.start()
    assert reach(site.machine, web.address("lan"), 80) == "198.51.100.1"
    assert places() == before
    site.kill()
    site.machine.ip(f"link del {next(name for name in site.links() if name.startswith('ndm'))}")
    site.start()
    assert reach(site.machine, web.address("lan"), 80) == "198.51.100.1"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "option parent is missing"),
        ({"parent": "eth9"}, "the host has no link eth9"),
        ({"parent": "a b"}, "parent value: a b"),
        ({"parent": "eth0", "macvlan_mode": "vepa"}, "macvlan_mode cannot be vepa: bridge and private"),
        ({"parent": "eth0", "macvlan_mode": "private", "netd.host_access": "true"}, "netd.host_access needs"),
        ({"parent": "eth0", "netd.host_access": "maybe"}, "netd.host_access value: maybe"),
        ({"parent": "eth0", "com.docker.network.bridge.name": "x"}, "com.docker.network.bridge.name"),
    ],
)
def test_invalid_options_are_refused(place, options, words):
    body = {"Name": "n", "Driver": "macvlan", "Options": options}
    assert words in place.refusal(400, "POST", "/networks/create", body)
    assert "n" not in place.networks()
