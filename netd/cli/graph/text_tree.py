"""The topology as a tree for a terminal.  Pure; control characters in names are escaped."""

from __future__ import annotations

from netd.cli.graph import phrases
from netd.cli.graph.merge import members
from netd.cli.output.columns import escape_control, short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Json = dict[str, Any]


def tree(topology: Json) -> str:
    """Return networks with their containers and ports, then what networks reach of each other."""
    uplinks = sorted({link for links in topology["Uplinks"].values() for link in links})
    way = f"default route by {', '.join(uplinks)}" if uplinks else "no default route"
    lines = [f"{topology['Host']} ({way})"]
    networks = topology["Networks"]
    for position, network in enumerate(networks):
        last = position == len(networks) - 1
        head, *rest = _network(topology, network)
        lines.append(("└─ " if last else "├─ ") + head)
        lines += [("   " if last else "│  ") + line for line in rest]
    lines += _between(topology)
    return "".join(f"{escape_control(line)}\n" for line in lines)


def _network(topology: Json, network: Json) -> Iterator[str]:
    parts = [network["Name"], phrases.traits(network), phrases.subnets(network), network["Device"]]
    yield "  ".join(filter(None, parts))
    found = list(members(topology, network["Id"]))
    bar = "│  " if found else "   "
    if network["Pools"]:
        zone = network["Zone"]
        yield f"{bar}out: {phrases.ways_out(network)}"
        yield f"{bar}in: {phrases.access(topology, 'outside', zone)}; inside: {phrases.access(topology, zone, 'same')}"
    for position, (container, endpoint) in enumerate(found):
        last = position == len(found) - 1
        yield ("└─ " if last else "├─ ") + _container(topology, container, endpoint)
        indent = "   " if last else "│  "
        for port in _ports(container, network):
            yield f"{indent}   {phrases.port(port)}"
        for other in topology["Containers"]:
            if other.get("Shares") == container["Id"]:
                yield f"{indent}   shared by {other['Name']} ({other['State']})"


def _ports(container: Json, network: Json) -> Iterator[Json]:
    """Yield the ports that are translated to the container's address on this network: that of its default route."""
    others = {endpoint["Network"] for endpoint in container["Endpoints"]} - {network["Id"]}
    for port in container["Ports"]:
        family = "6" if ":" in port["Address"] else "4"
        way = container["Egress"].get(family)
        if way == network["Id"] or (way is None and not others):
            yield port


def _container(topology: Json, container: Json, endpoint: Json) -> str:
    names = {network["Id"]: network["Name"] for network in topology["Networks"]}
    also = [
        names.get(found["Network"], short_id(found["Network"]))
        for found in container["Endpoints"]
        if found["Network"] != endpoint["Network"]
    ]
    parts = [
        container["Name"],
        container["State"],
        ", ".join(endpoint["Addresses"]),
        f"aliases: {', '.join(endpoint['Aliases'])}" if endpoint["Aliases"] else "",
        f"also on: {', '.join(also)}" if also else "",
        "over its connection budget" if container["OverBudget"] else "",
    ]
    return "  ".join(filter(None, parts))


def _between(topology: Json) -> Iterator[str]:
    zones = list(phrases.zones(topology))
    if sum(bool(network["Pools"]) for network in topology["Networks"]) < 2:
        return
    yield ""
    yield "Between networks, clients on the first reach of the second:"
    for client, clients in zones:
        for server, servers in zones:
            if (client, clients) == (server, servers) and "," not in clients:
                continue
            access, reason = phrases.access(topology, client, server), phrases.reasons(topology, client, server)
            yield f"  {clients} → {servers}: {access}{f' ({reason})' if reason else ''}"
