"""A container opens connections without end, to fill the host's connection-tracking table."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import docker
import pytest

from netd.common.mac import link_local
from netd.host_protocol import Flows
from netd.kernel import conntrack_count
from netd.kernel.conntrack import Conntrack
from tests.installation import IMAGE, Installation, wait_until
from tests.lab import Lab, Node, reach

BUDGET, FLOOD = 1000, 1500
NETWORK, NETWORK6, GATEWAY = "172.30.0.0/16", "fd00:30::/64", "172.30.0.1"
OUTSIDE, OUTSIDE6 = "198.51.100.2", "2001:db8:51::2"
KINDS = {
    "forwarded": (socket.AF_INET, OUTSIDE),
    "forwarded-ipv6": (socket.AF_INET6, OUTSIDE6),
    "from-a-link-local-address": (socket.AF_INET6, "gateway"),
}


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def place(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """A host with a route to the outside and a small budget; *flooder* and *other* are on one network."""
    made = Installation(config=f'firewall = "{request.param}"\nconnection_budget = {BUDGET}\n')
    try:
        made.start()
        made.load_busybox()
        for words in (
            "link add outside type veth peer name far",
            "link set far up",
            "link set outside up",
            "addr add 198.51.100.1/24 dev outside",
            "addr add 2001:db8:51::1/64 dev outside nodad",
        ):
            assert made.on_host("ip", *words.split()).returncode == 0
        made.netctl("network", "create", "--subnet", NETWORK, "--ipv6", "--subnet", NETWORK6, "attacked")
        for name in ("flooder", "other"):
            made.netctl("run", "-d", "--name", name, "--network", "attacked", IMAGE, "sleep", "1000")
        yield made
    finally:
        made.destroy()


@pytest.fixture
def host(place: Installation, lab: Lab) -> Node:
    return lab.host_at(Path("/run/netns", place.host), "host")


def inside(place: Installation, lab: Lab, name: str) -> Node:
    return lab.host_at(Path(f"/proc/{place.inspect(name)['State']['Pid']}/ns/net"), name)


def flood(node: Node, family: int, address: str, first: int, count: int = FLOOD) -> None:
    """Send one datagram to each of *count* ports."""
    with node.run(lambda: socket.socket(family, socket.SOCK_DGRAM)) as sender:
        scope: tuple[int, ...] = ()
        if address.startswith("fe80:"):
            scope = (0, node.run(lambda: socket.if_nametoindex("eth0")))
            sender.bind((node.link_local("eth0"), 0, *scope))
        for port in range(first, first + count):
            sender.sendto(b"x", (address, port, *scope))


def delete_entries(host: Node, *addresses: str) -> None:
    """Delete the entries of connection tracking that name these addresses."""

    def body() -> None:
        conntrack = Conntrack()
        conntrack.delete(Flows(frozenset(map(ip_address, addresses))))
        conntrack.close()

    host.run(body)


def event(place: Installation, since: float) -> dict[str, Any]:
    """Return the next event about the budget, or the first since then."""
    filters = {"type": "container", "event": "connection-budget"}
    with closing(docker.APIClient(base_url=f"unix://{place.run}/netd.sock", version="1.51")) as client:
        return next(client.events(since=since, until=since + 10, filters=filters, decode=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_flooder_gets_no_new_connections_and_others_do(place: Installation, host: Node, lab: Lab, kind: str) -> None:
    flooder, other = inside(place, lab, "flooder"), inside(place, lab, "other")
    identifier = place.inspect("flooder")["Id"]
    network = place.inspect("flooder")["NetworkSettings"]["Networks"]["attacked"]
    own = (network["IPAddress"], network["GlobalIPv6Address"], str(link_local(network["MacAddress"])))
    family, address = KINDS[kind]
    if address == "gateway":
        bridge = f"nd-{network['NetworkID'][:12]}"
        address = host.link_local(bridge)
        wait_until(lambda: "tentative" not in flooder.ip("-6 addr show eth0"))
    lab.echo(host, 7000)
    with (
        host.run(lambda: socket.create_server((GATEWAY, 7001))) as server,
        flooder.run(lambda: socket.create_connection((GATEWAY, 7001), 5)) as client,
        server.accept()[0] as accepted,
    ):
        since = time.time()
        flood(flooder, family, address, 10000)
        exceeded = event(place, since)
        assert exceeded["Action"] == "connection-budget: exceeded"
        assert exceeded["Actor"]["ID"] == identifier
        assert "connection budget exceeded: container=" + identifier[:12] in place.log("netd")

        held = host.run(conntrack_count.table).entries
        flood(flooder, family, address, 20000)
        assert host.run(conntrack_count.table).entries < held + FLOOD / 10
        assert reach(flooder, GATEWAY, 7000, timeout=0.5) is None
        assert reach(other, GATEWAY, 7000) is not None
        client.sendall(b"still")
        assert accepted.recv(5) == b"still"
        accepted.sendall(b"there")
        assert client.recv(5) == b"there"

        since = time.time()
        delete_entries(host, *own)
        restored = event(place, since)
        assert restored["Action"] == "connection-budget: restored" and restored["Actor"]["ID"] == identifier
    assert reach(flooder, GATEWAY, 7000) is not None


def test_a_container_within_its_budget_is_not_affected(place: Installation, host: Node, lab: Lab) -> None:
    """Together two containers have more than one may have."""
    names = ("flooder", "other")
    nodes = [inside(place, lab, name) for name in names]
    addresses = [place.inspect(name)["NetworkSettings"]["Networks"]["attacked"]["IPAddress"] for name in names]
    lab.echo(host, 7000)
    since = time.time()
    for node in nodes:
        flood(node, socket.AF_INET, OUTSIDE, 10000, BUDGET * 3 // 4)
    flood(nodes[0], socket.AF_INET, OUTSIDE, 20000)
    assert event(place, since)["Actor"]["Attributes"]["name"] == "flooder"
    assert reach(nodes[1], GATEWAY, 7000) is not None
    since = time.time()
    delete_entries(host, *addresses)
    assert event(place, since)["Action"] == "connection-budget: restored"


def test_a_flooder_gets_no_new_connections_after_a_restart_of_netd(place: Installation, host: Node, lab: Lab) -> None:
    flooder = inside(place, lab, "flooder")
    address = place.inspect("flooder")["NetworkSettings"]["Networks"]["attacked"]["IPAddress"]
    lab.echo(host, 7000)
    since = time.time()
    flood(flooder, socket.AF_INET, OUTSIDE, 10000)
    assert event(place, since)["Action"] == "connection-budget: exceeded"
    place.kill("netd")
    since = time.time()
    place.start("netd")
    assert event(place, since)["Action"] == "connection-budget: exceeded"
    assert reach(flooder, GATEWAY, 7000, timeout=0.5) is None
    since = time.time()
    delete_entries(host, address)
    assert event(place, since)["Action"] == "connection-budget: restored"
