"""Subnets and addresses as clients of the API meet them, with packets that prove them."""

from __future__ import annotations

import json
import socket
from ipaddress import ip_network

from scapy.layers.inet6 import ICMPv6EchoRequest

from tests.api.conftest import Box, Site
from tests.lab import PATIENCE, reach

ECHO_REPLY = 129


def answers(box: Box, address: str) -> bool:
    """Tell whether an echo request by IPv6 from the container is answered."""
    assert box.node is not None
    with box.node.run(lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)) as raw:
        raw.settimeout(PATIENCE)
        raw.sendto(bytes(ICMPv6EchoRequest(id=7, seq=1)), (address, 0))
        while True:
            try:
                reply, sender = raw.recvfrom(2048)
            except TimeoutError:
                return False
            if reply[0] == ECHO_REPLY and sender[0] == address:
                return True


def entry(place: Site, name: str, number: int = 0) -> dict:
    return place.get(f"/networks/{name}")["IPAM"]["Config"][number]


def test_a_dual_stack_network_without_any_subnet_gets_one_of_each_family(place):
    """Behaviour 44: an fd00::/8 /64; two networks get different ones of one /48."""
    made = place.network("n", EnableIPv6=True)
    assert made["EnableIPv4"] and made["EnableIPv6"]
    four, six = (ip_network(one["Subnet"]) for one in made["IPAM"]["Config"])
    assert (four.version, six.version) == (4, 6)
    assert six.prefixlen == 64 and six.subnet_of(ip_network("fd00::/8"))
    assert made["IPAM"]["Config"][1]["Gateway"] == str(six[1])
    other = place.network("m", EnableIPv6=True)
    second = ip_network(other["IPAM"]["Config"][1]["Subnet"])
    assert second != six and second.supernet(new_prefix=48) == six.supernet(new_prefix=48)


def test_containers_reach_each_other_and_the_gateway_by_ipv6(place):
    place.network("n", EnableIPv6=True, IPAM={"Config": [{"Subnet": "fd00:91::/64"}]})
    web, client = place.sandbox("web", "n"), place.sandbox("client", "n")
    shown = web.settings["Networks"]["n"]
    assert shown["GlobalIPv6Address"] == "fd00:91::2"
    assert shown["GlobalIPv6PrefixLen"] == 64
    assert shown["IPv6Gateway"] == "fd00:91::1"
    assert place.get("/networks/n")["Containers"][web.id]["IPv6Address"] == "fd00:91::2/64"
    assert answers(client, "fd00:91::2")
    assert answers(client, "fd00:91::1")
    place.lab.echo(web.node, 80)
    assert reach(client.node, web.address("n"), 80) == client.address("n")
    assert json.loads(client.node.ip("-6 -j route show default"))[0]["gateway"] == "fd00:91::1"


def test_a_network_can_do_without_ipv4(place):
    """Behaviour 46: no IPv4 address, eth0 works, names are found."""
    made = place.network("six", EnableIPv4=False, EnableIPv6=True)
    assert not made["EnableIPv4"] and len(made["IPAM"]["Config"]) == 1
    web, client = place.sandbox("web", "six"), place.sandbox("client", "six")
    assert web.address("six") == ""
    assert client.resolve("web", "AAAA") == [web.settings["Networks"]["six"]["GlobalIPv6Address"]]
    assert client.resolve("web") == []
    assert answers(client, web.settings["Networks"]["six"]["GlobalIPv6Address"])
    assert "inet " not in client.node.ip("addr show eth0")


def test_families_follow_the_fields_then_the_options(place):
    on = {"com.docker.network.enable_ipv6": "true"}
    assert place.network("a", Options=on)["EnableIPv6"]
    shown = place.network("b", Options=on, EnableIPv6=False)
    assert not shown["EnableIPv6"] and shown["Options"] == {}
    off = {"com.docker.network.enable_ipv4": "0", "com.docker.network.enable_ipv6": "1"}
    assert not place.network("c", Options=off)["EnableIPv4"]


def test_given_subnets_come_first_and_those_of_a_family_that_is_off_are_passed_over(place):
    """Behaviour 45, and the order in which Docker shows pools."""
    made = place.network("a", EnableIPv6=True, IPAM={"Config": [{"Subnet": "fd00:91::/64"}]})
    assert [ip_network(one["Subnet"]).version for one in made["IPAM"]["Config"]] == [6, 4]
    both = {"Config": [{"Subnet": "fd00:92::/64"}, {"Subnet": "10.91.0.0/24"}]}
    made = place.network("b", EnableIPv6=True, IPAM=both)
    assert [one["Subnet"] for one in made["IPAM"]["Config"]] == ["10.91.0.0/24", "fd00:92::/64"]
    made = place.network("c", IPAM={"Config": [{"Subnet": "fd00:93::/64"}]})
    assert len(made["IPAM"]["Config"]) == 1 and "." in made["IPAM"]["Config"][0]["Subnet"]


def test_an_installation_keeps_its_ipv6_subnets(site):
    before = site.network("a", EnableIPv6=True)
    site.stop()
    site.start()
    assert site.get("/networks/a")["IPAM"] == before["IPAM"]
    first, second = (
        ip_network(one["IPAM"]["Config"][1]["Subnet"]) for one in (before, site.network("b", EnableIPv6=True))
    )
    assert first.supernet(new_prefix=48) == second.supernet(new_prefix=48)
