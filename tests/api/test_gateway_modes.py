"""Reachability and source addresses by gateway mode of bridge networks, and the choice of the default route.

The neighbour ``outside`` has routes to the containers' subnets, so only the firewall blocks it.
"""

from __future__ import annotations

import json
import socket

import pytest

from tests.api.conftest import BOTH_FIREWALLS, OUTSIDE, UPLINK, Box, Site
from tests.lab import SILENCE, reach, unreachable

pytestmark = BOTH_FIREWALLS
D = "com.docker.network."
MODE, MODE6 = D + "bridge.gateway_mode_ipv4", D + "bridge.gateway_mode_ipv6"
UPLINK6, OUTSIDE6 = "2001:db8::1", "2001:db8::2"


@pytest.fixture
def routed(place: Site):
    """A site whose neighbour has IPv6 and routes to the containers."""
    nodes = ((place.machine, UPLINK6), (place.outside, OUTSIDE6))
    for node, address in nodes:
        node.ip(f"addr add {address}/64 dev eth0 nodad")
    for subnet, via in (("10.91.0.0/16", UPLINK), ("fd00:91::/48", UPLINK6)):
        place.outside.ip(f"route add {subnet} via {via}")
    yield place
    for node, address in nodes:
        node.ip(f"addr del {address}/64 dev eth0")
    for subnet in ("10.91.0.0/16", "fd00:91::/48"):
        place.outside.ip(f"route del {subnet}")


def dual(place: Site, name: str, number: int, options: dict | None = None, **fields: object) -> dict:
    config = [{"Subnet": f"10.91.{number}.0/24"}, {"Subnet": f"fd00:91:0:{number}::/64"}]
    return place.network(name, EnableIPv6=True, IPAM={"Config": config}, Options=options or {}, **fields)


def served(place: Site, name: str, network: str, **ports: str) -> Box:
    """Return a container that serves ports 80 and 81; the named ones are published."""
    bindings = {f"{number[1:]}/tcp": [{"HostPort": port}] for number, port in ports.items()}
    box = place.sandbox(name, network, PortBindings=bindings)
    for port in (80, 81):
        for address in ("0.0.0.0", "::"):
            place.lab.echo(box.node, port, address=address)
    return box


def pings(node, address: str) -> bool:
    """Send an echo request, type 8 or 128; return whether a reply arrives."""
    six = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    request = b"\x80\0\0\0ping\0\0\0\0" if six else b"\x08\0\x19\x2fping\0\0\0\0"
    with node.run(lambda: socket.socket(family, socket.SOCK_RAW, protocol)) as raw:
        raw.settimeout(SILENCE)
        raw.sendto(request, (address, 0))
        try:
            while not (packet := raw.recv(256)).endswith(request[4:]) or packet[-12] not in (0, 129):
                pass
        except TimeoutError:
            return False
    return True


def seen(node, box: Box, network: str) -> dict[str, tuple[bool, ...]]:
    """Return by family whether port 80, port 81 and a ping reach the container's own address."""
    settings = box.settings["Networks"][network]
    addresses = {"4": settings["IPAddress"], "6": settings["GlobalIPv6Address"]}
    return {
        family: (not unreachable(node, address, 80), not unreachable(node, address, 81), pings(node, address))
        for family, address in addresses.items()
    }


ALL, NONE, PUBLISHED = (True, True, True), (False, False, False), (True, False, True)


def test_a_neighbour_with_a_route_gets_as_far_as_the_mode_says(routed):
    dual(routed, "nat", 1)
    dual(routed, "open", 2, {MODE: "nat-unprotected", MODE6: "nat-unprotected"})
    dual(routed, "routed", 3, {MODE: "routed", MODE6: "routed"})
    dual(routed, "mixed", 4, {MODE6: "routed"})
    expected = {
        "nat": {"4": NONE, "6": NONE},
        "open": {"4": ALL, "6": ALL},
        "routed": {"4": PUBLISHED, "6": PUBLISHED},
        "mixed": {"4": NONE, "6": PUBLISHED},
    }
    boxes = {name: served(routed, name, name, p80=f"80{number}") for number, name in enumerate(expected, 80)}
    found = {name: seen(routed.outside, boxes[name], name) for name in expected}
    assert found == expected
    # The same from a container of another network: it reaches the same published ports as ``outside``.
    assert {name: seen(boxes["nat"].node, boxes[name], name) for name in ("open", "routed", "mixed")} == {
        name: expected[name] for name in ("open", "routed", "mixed")
    }
    assert seen(boxes["routed"].node, boxes["nat"], "nat") == {"4": NONE, "6": NONE}
    assert {name: seen(routed.machine, boxes[name], name) for name in expected} == {
        name: {"4": ALL, "6": ALL} for name in expected
    }
    assert [binding["HostPort"] for binding in boxes["mixed"].settings["Ports"]["80/tcp"]] == ["8083", ""]
    assert reach(routed.outside, UPLINK, 8083) == OUTSIDE


def test_what_leaves_is_hidden_or_not_as_the_network_says(routed):
    routed.machine.ip("addr add 198.51.100.7/32 dev eth0")
    routed.machine.ip("addr add 2001:db8::7/128 dev eth0 nodad preferred_lft 0")
    dual(routed, "nat", 1)
    dual(routed, "bare", 2, {D + "bridge.enable_ip_masquerade": "false"})
    dual(routed, "named", 3, {D + "host_ipv4": "198.51.100.7", D + "host_ipv6": "2001:db8::7"})
    dual(routed, "routed", 4, {MODE: "routed", MODE6: "routed"})
    for address in ("0.0.0.0", "::"):
        routed.lab.echo(routed.outside, 90, address=address)
    boxes = {name: routed.sandbox(name, name) for name in ("nat", "bare", "named", "routed")}
    found = {name: (reach(box.node, OUTSIDE, 90), reach(box.node, OUTSIDE6, 90)) for name, box in boxes.items()}
    routed.machine.ip("addr del 198.51.100.7/32 dev eth0")
    routed.machine.ip("addr del 2001:db8::7/128 dev eth0")
    assert found == {
        "nat": (UPLINK, UPLINK6),
        "bare": ("10.91.2.2", "fd00:91:0:2::2"),
        "named": ("198.51.100.7", "2001:db8::7"),
        "routed": ("10.91.4.2", "fd00:91:0:4::2"),
    }


def test_trusted_links_let_everything_in(routed):
    dual(routed, "n", 1, {D + "bridge.trusted_host_interfaces": "eth7:eth0"})
    assert seen(routed.outside, served(routed, "web", "n"), "n") == {"4": ALL, "6": ALL}


def test_a_routed_network_is_open_also_where_another_leads_out(routed):
    dual(routed, "routed", 1, {MODE: "routed", MODE6: "routed"})
    web = served(routed, "web", "routed", p80="8080")
    routed.connect("bridge", "web", GwPriority=1)
    web.node.ip(f"route add {OUTSIDE} via 10.91.1.1")
    assert seen(routed.outside, web, "routed")["4"] == PUBLISHED
    web.remove()
    assert "10.91.1.2" not in routed.ruleset()


def ways(box: Box) -> list[str]:
    return [
        json.loads(box.node.ip(f"{family} -j route show default"))[0]["gateway"]
        for family in ("-4", "-6")
        if "default" in box.node.ip(f"{family} route")
    ]


def test_each_family_goes_its_own_way_out(place):
    """Behaviours 51 and 52: by priority, then number of families, then name; never an internal network."""
    place.network("aa", "10.92.0.0/24")
    dual(place, "zz", 1)
    place.network("deep", "10.93.0.0/24", Internal=True)
    box = place.sandbox("a", {"aa": {}, "zz": {}, "deep": {"GwPriority": 100}})
    assert ways(box) == ["10.91.1.1", "fd00:91:0:1::1"]
    other = place.sandbox("b", {"aa": {"GwPriority": 1}, "zz": {}})
    assert ways(other) == ["10.92.0.1", "fd00:91:0:1::1"]
    place.disconnect("zz", "b")
    assert ways(other) == ["10.92.0.1"]


def test_the_binding_of_a_family_moves_with_its_way_out(routed):
    """Behaviour 53."""
    routed.network("four", "10.92.0.0/24")
    routed.network("six", EnableIPv4=False, EnableIPv6=True)
    web = served(routed, "web", "four", p80="8080")

    def bindings() -> list[str]:
        return [binding["HostIp"] for binding in web.settings["Ports"]["80/tcp"]]

    before = bindings()
    assert reach(routed.outside, UPLINK, 8080) == OUTSIDE and "0.0.0.0" in before
    routed.connect("six", "web")
    assert bindings() == ["0.0.0.0", "::"]
    assert reach(routed.outside, UPLINK6, 8080) == OUTSIDE6
    assert reach(routed.outside, UPLINK, 8080) == OUTSIDE
    routed.disconnect("six", "web")
    assert bindings() == before


def test_a_network_of_ipv4_has_nothing_of_ipv6_inside(place):
    """Behaviour 49."""
    place.network("four", "10.92.0.0/24")
    assert "inet6" not in place.sandbox("a", "four").node.ip("addr show eth0")
