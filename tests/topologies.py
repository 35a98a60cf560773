"""Topologies for tests of pictures, computed by the code of the product from made-up records."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

from netd.common import codec
from netd.drivers.registry import discover
from netd.engine.views.topology import topology, traffic
from netd.host_protocol import LinkCounters
from netd.model import Network
from tests.unit import builders

KINDS = ("web", "db", "cache", "worker", "queue")


def made(state, uplinks=("eth0",)) -> dict:
    """Return the JSON of a state's topology, with counters for each endpoint."""
    endpoints = [endpoint for sandbox in state.sandboxes for endpoint in sandbox.endpoints]
    links = {endpoint.id: f"ndp{endpoint.id[:10]}" for endpoint in endpoints}
    view = topology(state, discover(), "box", {4: uplinks, 6: ()}, links, frozenset())
    counters = {
        link: LinkCounters(
            received_bytes=number * 1000,
            received_packets=number,
            received_dropped=0,
            sent_bytes=number * 5000,
            sent_packets=number * 2,
            sent_dropped=0,
        )
        for number, link in enumerate(links.values())
    }
    return json.loads(codec.encode(view)) | {"Traffic": traffic(links, counters)}


def predefined() -> list[Network]:
    bridge = builders.network("bridge", "172.17.0.0/16", options={"com.docker.network.bridge.name": "netd0"})
    bare = [
        Network(id=builders.new_id(), name=name, created=builders.now(), driver=driver)
        for name, driver in (("host", "host"), ("none", "null"))
    ]
    return [bridge, *bare]


def shop() -> dict:
    """Return five containers on three networks, one of them internal; one is on two networks and publishes a port."""
    front, back = builders.network("front", "172.18.0.0/24"), builders.network("back", "172.19.0.0/24", internal=True)
    first, *others = predefined()
    attached = [
        ("proxy", [builders.endpoint(front, 2, aliases=["www"])], [(8080, 80)]),
        ("web", [builders.endpoint(front, 3), builders.endpoint(back, 3)], []),
        ("db", [builders.endpoint(back, 4)], []),
        ("cache", [builders.endpoint(back, 5)], []),
        ("tools", [builders.endpoint(first, 2)], []),
    ]
    sandboxes = [
        builders.sandbox(name, *endpoints, publications=tuple(builders.publication(*port) for port in ports))
        for name, endpoints, ports in attached
    ]
    return made(builders.state(first, *others, front, back, sandboxes=sandboxes))


def many(count: int, networks: int = 25) -> dict:
    """Return *count* containers on several networks: every tenth is on two, every seventh has a published port."""
    large = builders.network("everyone", "10.100.0.0/16")
    found = [
        builders.network(f"net-{number:02}", f"10.{number}.0.0/16", internal=number % 5 == 4)
        for number in range(networks)
    ]
    sandboxes = []
    for number in range(count):
        own = found[number % networks]
        endpoints = [builders.endpoint(own, 2 + number)]
        if number % 10 == 0:
            endpoints.append(builders.endpoint(large, 2 + number))
        ports = (builders.publication(10000 + number, 80, address=str(IPv4Address("0.0.0.0"))),)
        name = f"{KINDS[number % len(KINDS)]}-{number:03}"
        published = number % 7 == 0 and not own.internal
        sandboxes.append(builders.sandbox(name, *endpoints, publications=ports if published else ()))
    return made(builders.state(*predefined(), *found, large, sandboxes=sandboxes))


def hostile(name: str) -> dict:
    """Return a topology in which every text that a user chooses is *name*."""
    network = builders.network(name, "10.9.0.0/24", options={"com.docker.network.bridge.name": "x", name: name})
    labels = {"com.docker.compose.project": name, "com.docker.compose.service": name}
    container = builders.sandbox(name, builders.endpoint(network, 2, aliases=[name]), labels=labels)
    return made(builders.state(network, sandboxes=[container]), uplinks=(name,)) | {"Host": name}
