"""Effects of a bridge network's options on the host and in containers."""

from __future__ import annotations

import pytest

from tests.installation import wait_until
from tests.lab import reach, unreachable

D = "com.docker.network."
B = D + "bridge."


def bridge(made):
    return f"nd-{made['Id'][:12]}"


def mtu(node, link):
    return node.json(f"link show {link}")[0]["mtu"]


def test_an_isolated_network_gives_its_first_address_to_a_container(place):
    options = {B + "gateway_mode_ipv4": "isolated"}
    made = place.network("n", "10.91.0.0/24", Internal=True, Options=options)
    assert made["IPAM"]["Config"] == [{"Subnet": "10.91.0.0/24"}]
    web, db = place.sandbox("web", "n"), place.sandbox("db", "n")
    assert (web.address("n"), db.address("n")) == ("10.91.0.1", "10.91.0.2")
    place.lab.echo(web.node, 80)
    assert reach(db.node, "10.91.0.1", 80) == "10.91.0.2"
    assert place.machine.json(f"addr show {bridge(made)}")[0]["addr_info"] == []
    assert unreachable(place.machine, "10.91.0.1", 80)


def test_an_isolated_network_of_two_addresses_gives_both_to_containers(place):
    """Behaviour 42."""
    place.network("n", "10.91.0.0/31", Internal=True, Options={B + "gateway_mode_ipv4": "isolated"})
    web, db = place.sandbox("web", "n"), place.sandbox("db", "n")
    assert (web.address("n"), db.address("n")) == ("10.91.0.0", "10.91.0.1")
    place.lab.echo(web.node, 80)
    assert reach(db.node, "10.91.0.0", 80) == "10.91.0.1"


def test_an_isolated_network_has_to_be_internal(place):
    body = {"Name": "n", "Options": {B + "gateway_mode_ipv4": "isolated"}}
    words = place.refusal(500, "POST", "/networks/create", body)
    assert words == "gateway mode 'isolated' can only be used for an internal network"
    assert "n" not in place.networks()


def test_containers_kept_apart_reach_the_host_and_outside_but_not_one_another(place):
    place.network("n", "10.91.0.0/24", Options={B + "enable_icc": "false"})
    web, db = place.sandbox("web", "n"), place.sandbox("db", "n")
    for node in (web.node, place.machine, place.outside):
        place.lab.echo(node, 80)
    assert unreachable(db.node, web.address("n"), 80)
    assert reach(db.node, "10.91.0.1", 80) == db.address("n")
    assert reach(db.node, "198.51.100.2", 80) == "198.51.100.1"
    assert reach(place.machine, web.address("n"), 80) == "10.91.0.1"


def test_a_bridge_without_an_address_leaves_the_gateway_to_somebody_else(place):
    made = place.network("n", "10.91.0.0/24", Options={B + "inhibit_ipv4": "true"})
    assert made["IPAM"]["Config"] == [{"Subnet": "10.91.0.0/24", "Gateway": "10.91.0.1"}]
    assert "10.91.0.1/24" not in place.machine.addresses()
    assert place.sandbox("web", "n").gateway() == "10.91.0.1"


def test_interfaces_inside_are_called_as_the_network_says(place):
    place.network("n", "10.91.0.0/24", Options={D + "container_iface_prefix": "lan"})
    box = place.sandbox("web", {"bridge": {}, "n": {}})
    assert {"eth0", "lan0"} <= box.node.links()


def test_another_gateway_can_be_named(place):
    auxiliary = {"DefaultGatewayIPv4": "10.91.0.9"}
    ipam = {"Config": [{"Subnet": "10.91.0.0/24", "AuxiliaryAddresses": auxiliary}]}
    place.network("n", IPAM=ipam)
    assert place.sandbox("web", "n").gateway() == "10.91.0.9"
    words = place.refusal(400, "POST", "/networks/create", {"Name": "m", "Internal": True, "IPAM": ipam})
    assert words == "no gateway can be set on an internal bridge network"


def test_a_bridge_of_somebody_else_is_used_and_stays(place):
    place.machine.ip("link add theirs type bridge")
    try:
        place.network("n", "10.91.0.0/24", Options={B + "name": "theirs"})
        web = place.sandbox("web", "n")
        assert reach(web.node, "10.91.0.1", 1) is None
        web.remove()
        place.ask(204, "DELETE", "/networks/n")
        assert "theirs" in place.links()
        assert "10.91.0.1/24" not in place.machine.addresses()
    finally:
        place.machine.ip("link del theirs")


def test_the_mtu_is_the_smallest_of_the_hosts_ways_out(site):
    site.lab.wire(site.machine, site.outside, "198.51.101.0/24")
    site.machine.ip("route add default nexthop via 198.51.100.2 nexthop via 198.51.101.2")
    site.machine.ip("link set eth1 mtu 1340")
    made = site.network("n", "10.91.0.0/24")
    web = site.sandbox("web", "n")
    assert D + "driver.mtu" not in made["Options"]
    assert (mtu(site.machine, bridge(made)), mtu(web.node, "eth0")) == (1340, 1340)
    asked = site.network("asked", Options={D + "driver.mtu": "1300"})
    assert mtu(site.machine, bridge(asked)) == 1300
    site.machine.ip("link set eth1 mtu 1400")
    site.stop()
    site.start()
    assert (mtu(site.machine, bridge(made)), mtu(web.node, "eth0")) == (1400, 1400)
    assert mtu(site.machine, "netd0") == 1400
    assert mtu(site.machine, bridge(asked)) == 1300


def test_the_default_route_and_published_ports_follow_the_networks(place):
    """The default route is chosen by priority, then by name, never on an internal network."""
    place.network("aa", "10.91.0.0/24")
    place.network("zz", "10.92.0.0/24")
    place.network("inside", "10.93.0.0/24", Internal=True)
    networks = {"zz": {}, "inside": {"GwPriority": 100}}
    web = place.sandbox("web", networks, PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    place.lab.echo(web.node, 80)
    assert web.gateway() == "10.92.0.1"
    assert reach(place.outside, "198.51.100.1", 8080) == "198.51.100.2"
    place.connect("aa", "web")
    assert web.gateway() == "10.91.0.1"
    assert reach(place.outside, "198.51.100.1", 8080) == "198.51.100.2"
    place.disconnect("aa", "web")
    assert web.gateway() == "10.92.0.1"
    assert reach(place.outside, "198.51.100.1", 8080) == "198.51.100.2"
    place.connect("aa", "web", GwPriority=-1)
    assert web.gateway() == "10.92.0.1"
    place.disconnect("zz", "web")
    place.disconnect("aa", "web")
    assert web.gateway() is None
    wait_until(lambda: unreachable(place.outside, "198.51.100.1", 8080))


@pytest.mark.parametrize("name", ["advertise_addr_nmsgs", "advertise_addr_ms"])
def test_how_often_an_address_is_announced_is_checked(place, name):
    assert "must be in the range" in place.refusal(
        500, "POST", "/networks/create", {"Name": "n", "Options": {D + name: "5000"}}
    )


def test_ports_of_a_routed_network_are_shown_without_a_port_of_the_host(place):
    place.network("n", "10.91.0.0/24", Options={B + "gateway_mode_ipv4": "routed"})
    web = place.sandbox("web", "n", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    assert web.settings["Ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}
    place.lab.echo(web.node, 80)
    assert unreachable(place.outside, "198.51.100.1", 8080)
    place.connect("bridge", "web", GwPriority=1)
    assert web.settings["Ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
    assert reach(place.outside, "198.51.100.1", 8080) == "198.51.100.2"
    place.disconnect("bridge", "web")
    assert web.settings["Ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}
