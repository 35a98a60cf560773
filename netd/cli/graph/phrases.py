"""The texts that all pictures share: ports, addresses, ways out, access.  Pure; texts are not escaped here."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Json = dict[str, Any]

ACCESS = {
    "all": "all ports",
    "opened": "published ports, at the containers' own addresses",
    "published": "published ports",
    "none": "nothing",
    "unknown": "not decided by netd",
}
_MOST_NAMES = 4


def port(found: Json) -> str:
    """Return ``0.0.0.0:8000-8009 → 80-89/tcp``."""
    target = f"{_span(found['Target'], found['Count'])}/{found['Protocol']}"
    allowed = f" (only from {', '.join(found['Allow'])})" if found["Allow"] else ""
    if not found["Port"]:
        return f"own address:{target}{allowed}"
    address = found["Address"]
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{_span(found['Port'], found['Count'])} → {target}{allowed}"


def _span(first: int, count: int) -> str:
    return f"{first}-{first + count - 1}" if count > 1 else str(first)


def subnets(network: Json) -> str:
    """Return the subnets with their gateways."""
    pools = (
        f"{pool['Subnet']}" + (f" gateway {pool['Gateway']}" if pool["Gateway"] else "") for pool in network["Pools"]
    )
    return ", ".join(pools)


def traits(network: Json) -> str:
    """Return driver and the properties that differ from the usual."""
    found = [network["Driver"]]
    found += ["internal"] if network["Internal"] else []
    found += ["isolated"] if network["Isolated"] else []
    return ", ".join(found)


def ways_out(network: Json) -> str:
    """Return the ways out of a network; families with the same way are named together."""
    found: dict[str, list[str]] = {}
    for way in network["WaysOut"]:
        found.setdefault(_way(way), []).append(f"IPv{way['Family']}")
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{text} ({', '.join(families)})" for text, families in found.items()) or "none"


def _way(way: Json) -> str:
    links = f" by {', '.join(way['Links'])}" if way["Links"] else ", no default route"
    match way["Kind"]:
        case "masquerade":
            return f"masquerade{links}"
        case "source":
            return f"source NAT to {way['Source']}{links}"
        case "routed":
            return f"routed without NAT{links}"
        case "host":
            return f"the host's own routes{links}"
        case "parent":
            return f"directly{links}"
        case _:
            return "none"


def access(topology: Json, client: str, server: str) -> str:
    """Return what clients of one zone reach in another, with families where they differ."""
    rules = topology["Reach"].get(client, {}).get(server, [])
    if len(rules) == 1:
        return ACCESS[rules[0]["Access"]]
    return "; ".join(
        f"{ACCESS[rule['Access']]} ({', '.join(f'IPv{family}' for family in rule['Families'])})" for rule in rules
    )


def reasons(topology: Json, client: str, server: str) -> str:
    rules = topology["Reach"].get(client, {}).get(server, [])
    return "; ".join(dict.fromkeys(rule["Reason"] for rule in rules))


def zones(topology: Json) -> Iterator[tuple[str, str]]:
    """Yield the zones of networks with addresses, each with the names of its networks."""
    found: dict[str, list[str]] = {}
    for network in topology["Networks"]:
        if network["Pools"]:
            found.setdefault(network["Zone"], []).append(network["Name"])
    for zone, names in found.items():
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        yield zone, ", ".join(names[:_MOST_NAMES]) + more
