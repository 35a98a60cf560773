"""Subnets and addresses through the API, verified with packets."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from scapy.layers.inet6 import ICMPv6EchoRequest

from tests.api.conftest import Box, Site
from tests.installation import wait_until
from tests.lab import PATIENCE, reach

ECHO_REPLY = 129


def answers(box: Box, address: str) -> bool:
    """Return whether an IPv6 echo request from the container is answered."""
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
    four, six = (ip_network(pool["Subnet"]) for pool in made["IPAM"]["Config"])
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
    """Behaviour 46: no IPv4 address, eth0 works, names are resolved."""
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


def test_given_subnets_come_first_and_turn_their_family_on(place):
    """Behaviour 45, and the order in which Docker shows pools."""
    made = place.network("a", EnableIPv6=True, IPAM={"Config": [{"Subnet": "fd00:91::/64"}]})
    assert [ip_network(pool["Subnet"]).version for pool in made["IPAM"]["Config"]] == [6, 4]
    both = {"Config": [{"Subnet": "fd00:92::/64"}, {"Subnet": "10.91.0.0/24"}]}
    made = place.network("b", EnableIPv6=True, IPAM=both)
    assert [pool["Subnet"] for pool in made["IPAM"]["Config"]] == ["10.91.0.0/24", "fd00:92::/64"]
    six = {"Config": [{"Subnet": "fd00:93::/64"}]}
    made = place.network("c", IPAM=six)
    assert made["EnableIPv6"] and [ip_network(pool["Subnet"]).version for pool in made["IPAM"]["Config"]] == [6, 4]
    refused = place.ask(400, "POST", "/networks/create", {"Name": "d", "EnableIPv6": False, "IPAM": six})
    assert refused["message"].startswith(
        "subnet fd00:93::/64 is an IPv6 subnet, but the request disables IPv6: enable it"
    )


def test_an_installation_keeps_its_ipv6_subnets(site):
    before = site.network("a", EnableIPv6=True)
    site.stop()
    site.start()
    assert site.get("/networks/a")["IPAM"] == before["IPAM"]
    first, second = (
        ip_network(made["IPAM"]["Config"][1]["Subnet"]) for made in (before, site.network("b", EnableIPv6=True))
    )
    assert first.supernet(new_prefix=48) == second.supernet(new_prefix=48)


def reserve(site: Site, identifier: str, name: str, status: int = 200, **addresses: str) -> dict:
    networks = {network: {"IPv4Address": address} for network, address in addresses.items()}
    body = {"Name": name, "Networks": networks}
    return site.ask(status, "PUT", f"/netd/v1/reservations/{identifier}", body)


def static(address: str) -> dict:
    return {"IPAMConfig": {"IPv4Address": address}}


def test_a_declared_address_is_nobody_elses_until_it_is_given_up(place):
    place.network("n", "10.91.0.0/24")
    owner = place.request("db", {"n": static("10.91.0.2")})
    shown = reserve(place, owner["Id"], "db", n="10.91.0.2", nosuch="10.1.1.1")
    assert shown == {"Id": owner["Id"], "Name": "db", "Networks": {"n": {"IPv4Address": "10.91.0.2"}}}
    assert place.get("/netd/v1/reservations") == [shown]
    assert place.sandbox("web", "n").address("n") == "10.91.0.3"
    thief = place.request("thief", {"n": static("10.91.0.2")})
    said = place.refusal(403, "POST", "/netd/v1/sandboxes", thief)
    assert said == "Address already in use: 10.91.0.2 is kept for container db, which declared it"
    place.ask(201, "POST", "/netd/v1/sandboxes", owner)
    place.remove(owner["Id"])
    place.refusal(403, "POST", "/netd/v1/sandboxes", thief)
    place.ask(204, "DELETE", f"/netd/v1/reservations/{owner['Id']}")
    place.ask(201, "POST", "/netd/v1/sandboxes", thief)
    assert "zork" in reserve(place, owner["Id"], "db", 400, n="zork")["message"]


def test_a_removed_network_takes_what_was_declared_on_it_along(place):
    place.network("n", "10.91.0.0/24")
    reserve(place, "a" * 64, "db", n="10.91.0.2")
    place.ask(204, "DELETE", "/networks/n")
    assert place.get("/netd/v1/reservations") == []
    place.network("n", "10.91.0.0/24")
    assert place.sandbox("web", "n").address("n") == "10.91.0.2"


def test_freed_addresses_go_last_and_a_container_gets_its_own_again(place):
    """Behaviours 36 and 37, except that released addresses are given last."""
    place.network("n", "10.91.0.0/29")
    boxes = {name: place.sandbox(name, "n") for name in ("a", "b", "c")}
    assert [box.address("n") for box in boxes.values()] == ["10.91.0.2", "10.91.0.3", "10.91.0.4"]
    boxes["b"].remove()
    boxes["a"].remove()
    assert place.sandbox("d", "n").address("n") == "10.91.0.5"
    assert place.sandbox("a", "n").address("n") == "10.91.0.2"
    assert place.sandbox("e", "n").address("n") == "10.91.0.6"
    assert place.sandbox("f", "n").address("n") == "10.91.0.3"
    words = place.refusal(500, "POST", "/netd/v1/sandboxes", place.request("b", "n"))
    assert "no available IPv4 addresses on this network's address pools: n (" in words


def test_former_and_declared_addresses_outlive_netd(site):
    site.network("n", "10.91.0.0/24")
    boxes = [site.sandbox(name, "n") for name in ("a", "b")]
    reserve(site, "d" * 64, "db", n="10.91.0.9")
    for box in boxes:
        box.remove()
    site.kill()
    site.start()
    assert site.sandbox("c", "n").address("n") == "10.91.0.4"
    assert site.sandbox("b", "n").address("n") == "10.91.0.3"
    assert "kept for container db" in site.refusal(
        403, "POST", "/netd/v1/sandboxes", site.request("x", {"n": static("10.91.0.9")})
    )


def test_a_hundred_restarts_in_any_order_give_no_conflict(place):
    """Static and dynamic containers on a network with fewer addresses than containers."""
    place.network("n", "10.91.0.0/28")
    chance = random.Random(7)
    declared = {f"s{number}": f"10.91.0.{number}" for number in (2, 5, 6, 9)}
    bodies = {name: place.request(name, {"n": static(address)}) for name, address in declared.items()}
    bodies |= {name: place.request(name, "n") for name in ("d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9")}
    for name, address in declared.items():
        reserve(place, bodies[name]["Id"], name, n=address)
    running: set[str] = set()
    for _ in range(100):
        name = chance.choice(list(bodies))
        if name in running:
            place.remove(bodies[name]["Id"])
            running.discard(name)
            continue
        view = place.ask(201, "POST", "/netd/v1/sandboxes", bodies[name])
        address = view["NetworkSettings"]["Networks"]["n"]["IPAddress"]
        assert address == declared.get(name, address)
        assert name in declared or address not in declared.values()
        running.add(name)
    there = [member["IPv4Address"] for member in place.get("/networks/n")["Containers"].values()]
    assert len(there) == len(set(there)) == len(running)


@pytest.fixture
def ledger(lab, tmp_path, monkeypatch) -> Iterator[Site]:
    """A site with an IPAM driver of an installed package that records its requests."""
    package = tmp_path / "packages"
    (package / "ledger-1.dist-info").mkdir(parents=True)
    (package / "ledger-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: ledger\nVersion: 1\n")
    (package / "ledger-1.dist-info/entry_points.txt").write_text("[netd.ipam]\nledger = ledger:Ledger\n")
    (package / "ledger.py").write_text(LEDGER)
    made = Site(lab, tmp_path)
    made.environment |= {"PYTHONPATH": str(package), "LEDGER": str(tmp_path / "ledger")}
    made.start()
    yield made
    made.close()


LEDGER = """
import os
from ipaddress import ip_interface, ip_network
from netd.ipam.drivers import Granted

class Ledger:
    replay = False

    def __init__(self):
        self.last = 9

    def note(self, *words):
        with open(os.environ["LEDGER"], "a") as file:
            print(*words, file=file)

    async def request_pool(self, asked):
        self.note("pool", asked.family, asked.subnet, dict(asked.options))
        return Granted("p1", asked.subnet or ip_network("10.61.0.0/24"))

    def release_pool(self, pool):
        self.note("release-pool", pool)

    def request_address(self, pool, asked):
        self.last += 1
        address = asked.address or f"10.61.0.{1 if asked.gateway else self.last}"
        self.note("address", pool, address, bool(asked.mac))
        return ip_interface(f"{address}/24")

    async def release_address(self, pool, address):
        self.note("release-address", pool, address)
"""


def test_another_ipam_driver_gives_subnets_and_addresses_and_gets_them_back(ledger, tmp_path):
    made = ledger.network("n", IPAM={"Driver": "ledger", "Options": {"site": "north"}})
    assert made["IPAM"]["Driver"] == "ledger" and made["IPAM"]["Options"] == {"site": "north"}
    assert made["IPAM"]["Config"] == [{"Subnet": "10.61.0.0/24", "Gateway": "10.61.0.1"}]
    web, db = ledger.sandbox("web", "n"), ledger.sandbox("db", {"n": static("10.61.0.77")})
    assert (web.address("n"), db.address("n")) == ("10.61.0.11", "10.61.0.77")
    ledger.lab.echo(db.node, 80)
    assert reach(web.node, "10.61.0.77", 80) == "10.61.0.11"
    words = ledger.refusal(403, "POST", "/netd/v1/sandboxes", ledger.request("thief", {"n": static("10.61.0.77")}))
    assert "held by container db" in words
    web.remove()
    db.remove()
    ledger.ask(204, "DELETE", "/networks/n")
    ledger.stop()
    ledger.start()
    lines = (tmp_path / "ledger").read_text().splitlines()
    assert lines[:4] == [
        "pool 4 None {'site': 'north'}",
        "address p1 10.61.0.1 False",
        "address p1 10.61.0.11 True",
        "address p1 10.61.0.77 True",
    ]
    assert lines[-1] == "release-pool p1"
    assert lines.count("release-address p1 10.61.0.77") == 2 and "release-address p1 10.61.0.11" in lines


def test_ipam_drivers_that_cannot_serve_are_refused_in_dockers_words(place):
    body = {"Name": "n", "IPAM": {"Driver": "nosuch"}}
    assert 'plugin "nosuch" not found' in place.refusal(404, "POST", "/networks/create", body)
    body = {"Name": "n", "IPAM": {"Driver": "null"}}
    assert "ipv4 pool is empty" in place.refusal(400, "POST", "/networks/create", body)


@pytest.fixture
def narrow(lab, tmp_path) -> Iterator[Site]:
    """A site whose address pools hold three networks."""
    made = Site(lab, tmp_path)
    config = tmp_path / "narrow.toml"
    config.write_text('default_address_pools = ["10.71.0.0/24 26"]\navoid = ["10.71.0.64/28"]\n')
    spawn = made.spawn
    made.spawn = lambda *flags: spawn("--config", str(config), *flags)
    made.start()
    yield made
    made.close()


def test_the_configuration_says_where_subnets_come_from_and_what_is_left_alone(narrow):
    assert narrow.network("a")["IPAM"]["Config"][0]["Subnet"] == "10.71.0.128/26"
    assert narrow.network("b")["IPAM"]["Config"][0]["Subnet"] == "10.71.0.192/26"
    narrow.sandbox("web", "b")
    words = narrow.refusal(400, "POST", "/networks/create", {"Name": "c"})
    assert words.startswith("all predefined address pools have been fully subnetted")
    assert "10.71.0.0/24 in /26" in words and "unused networks (a)" in words
    narrow.ask(204, "DELETE", "/networks/a")
    assert narrow.network("c")["IPAM"]["Config"][0]["Subnet"] == "10.71.0.128/26"


def given(subnet: str) -> dict:
    return {"IPAM": {"Config": [{"Subnet": subnet}]}}


def events(place, since):
    _, text = place.exchange("GET", f"/events?since={since}&until={time.time()}")
    return [json.loads(line) for line in text.splitlines()]


def test_a_route_that_comes_to_lie_over_a_network_is_told_by_name(place):
    since = time.time()
    network = place.network("over", "10.77.0.0/16")
    uplink = next(link for link in place.links() if link.startswith("eth"))
    place.machine.ip(f"route add 10.77.8.0/24 dev {uplink}")
    try:
        wait_until(lambda: any(event["Action"] == "conflict" for event in events(place, since)))
        [told] = [event for event in events(place, since) if event["Action"] == "conflict"]
        assert told["Actor"]["ID"] == network["Id"]
        words = {"name": "over", "subnet": "10.77.0.0/16", "route": "10.77.8.0/24", "interface": uplink}
        assert words.items() <= told["Actor"]["Attributes"].items()
        assert f"network over overlaps the route to 10.77.8.0/24 by interface {uplink}" in place.log()
    finally:
        place.machine.ip(f"route del 10.77.8.0/24 dev {uplink}")
        place.ask(204, "DELETE", "/networks/over")


def test_a_subnet_that_the_host_has_a_route_to_is_made_with_a_warning(place):
    since = time.time()
    uplink = next(link for link in place.links() if link.startswith("eth"))
    place.machine.ip(f"route add 10.78.0.0/16 dev {uplink}")
    try:
        made = place.ask(201, "POST", "/networks/create", {"Name": "same", **given("10.78.0.0/16")})
        assert f"10.78.0.0/16 by interface {uplink}" in made["Warning"]
        [told] = [event for event in events(place, since) if event["Action"] == "conflict"]
        assert told["Actor"]["ID"] == made["Id"]
        clear = place.ask(201, "POST", "/networks/create", {"Name": "clear", **given("10.79.0.0/16")})
        assert clear["Warning"] == ""
    finally:
        place.machine.ip(f"route del 10.78.0.0/16 dev {uplink}")
        for name in ("same", "clear"):
            place.call("DELETE", f"/networks/{name}")
