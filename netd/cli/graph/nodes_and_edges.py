"""The topology as nodes and edges with texts, for formats that draw graphs.  Pure; texts are not escaped here."""

from __future__ import annotations

from netd.cli.graph import phrases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Json = dict[str, Any]


class Node:
    """``key`` is made of letters and digits; ``kind``: host, network, container, outside."""

    __slots__ = ("key", "kind", "lines", "stopped")

    def __init__(self, key: str, kind: str, lines: list[str], stopped: bool = False) -> None:
        self.key, self.kind, self.lines, self.stopped = key, kind, [line for line in lines if line], stopped


class Edge:
    """``kind``: attached, way, port, trust."""

    __slots__ = ("kind", "source", "target", "text")

    def __init__(self, source: str, target: str, kind: str, text: str) -> None:
        self.source, self.target, self.kind, self.text = source, target, kind, text


def nodes(topology: Json) -> Iterator[Node]:
    yield Node("outside", "outside", ["outside"])
    yield Node("host", "host", [topology["Host"]])
    for number, network in enumerate(topology["Networks"]):
        lines = [network["Name"], phrases.traits(network), phrases.subnets(network)]
        yield Node(f"n{number}", "network", lines)
    for number, container in enumerate(topology["Containers"]):
        state = "" if container["State"] == "running" else container["State"]
        yield Node(f"c{number}", "container", [container["Name"], state], stopped=bool(state))


def edges(topology: Json) -> Iterator[Edge]:
    """Yield attachments, ways out, published ports, and access between networks beyond published ports."""
    keys = {network["Id"]: f"n{number}" for number, network in enumerate(topology["Networks"])}
    uplinks = sorted({link for links in topology["Uplinks"].values() for link in links})
    yield Edge("host", "outside", "way", ", ".join(uplinks) or "no default route")
    for number, network in enumerate(topology["Networks"]):
        if phrases.ways_out(network) != "none":
            yield Edge(f"n{number}", "host", "way", phrases.ways_out(network))
    for number, container in enumerate(topology["Containers"]):
        for endpoint in container["Endpoints"]:
            if (key := keys.get(endpoint["Network"])) is not None:
                names = [f"alias {alias}" for alias in endpoint["Aliases"]]
                yield Edge(f"c{number}", key, "attached", ", ".join([*endpoint["Addresses"], *names]))
        for port in container["Ports"]:
            yield Edge("outside", f"c{number}", "port", phrases.port(port))
    yield from _open(topology)


def _open(topology: Json) -> Iterator[Edge]:
    networks = [(f"n{number}", network["Zone"]) for number, network in enumerate(topology["Networks"])]
    rules = topology["Reach"]
    for client, zone in networks:
        for server, other in networks:
            found = rules.get(zone, {}).get(other, []) if client != server else []
            if zone != "host" != other and any(rule["Access"] in ("all", "opened") for rule in found):
                yield Edge(client, server, "trust", phrases.access(topology, zone, other))
