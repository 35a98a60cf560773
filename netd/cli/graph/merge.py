"""The topology of netd with what netd-runtime knows: states, images, and containers that are not running.  Pure."""

from __future__ import annotations

from netd.cli.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    Json = dict[str, Any]


def merged(topology: Json, listed: Iterable[Json]) -> Json:
    """Return the topology with the containers of ``GET /containers/json?all=1``."""
    known = {container["Id"]: container for container in topology["Containers"]}
    networks = {network["Name"]: network["Id"] for network in topology["Networks"]}
    found = []
    for entry in listed:
        base = known.pop(entry["Id"], None) or _stopped(entry, networks)
        mode = (entry.get("HostConfig") or {}).get("NetworkMode") or ""
        shared = mode.removeprefix("container:") if mode.startswith("container:") else ""
        found.append({**base, "State": entry["State"], "Image": entry.get("Image") or "", "Shares": shared})
    found += known.values()
    return {**topology, "Containers": sorted(found, key=lambda container: str(container["Name"]))}


def _stopped(entry: Json, networks: dict[str, str]) -> Json:
    """Return the node of a container without a sandbox; it has addresses again when it starts."""
    attached = ((entry.get("NetworkSettings") or {}).get("Networks") or {}).items()
    endpoints = [
        {
            "Id": f"{entry['Id']}/{networks[name]}",
            "Network": networks[name],
            "Interface": "",
            "Link": "",
            "Mac": "",
            "Addresses": [],
            "Gateways": [],
            "Aliases": (settings or {}).get("Aliases") or [],
        }
        for name, settings in attached
        if name in networks
    ]
    labels = entry.get("Labels") or {}
    return {
        "Id": entry["Id"],
        "Name": ((entry.get("Names") or [""])[0]).removeprefix("/"),
        "Project": labels.get("com.docker.compose.project", "")[:128],
        "Service": labels.get("com.docker.compose.service", "")[:128],
        "OnHost": False,
        "OverBudget": False,
        "Endpoints": endpoints,
        "Ports": [],
        "Egress": {},
    }


def selected(topology: Json, terms: Sequence[str]) -> Json:
    """Return the topology with the networks of these names or ids, and their containers; all without terms.

    Raises Fault for a network that does not exist.
    """
    if not terms:
        return topology
    wanted = {_find(topology["Networks"], term)["Id"] for term in terms}
    containers = [
        container
        for container in topology["Containers"]
        if any(endpoint["Network"] in wanted for endpoint in container["Endpoints"])
    ]
    endpoints = {endpoint["Id"] for container in containers for endpoint in container["Endpoints"]}
    return {
        **topology,
        "Networks": [network for network in topology["Networks"] if network["Id"] in wanted],
        "Containers": containers,
        "Traffic": {key: numbers for key, numbers in topology["Traffic"].items() if key in endpoints},
    }


def _find(networks: Sequence[Json], term: str) -> Json:
    exact = [network for network in networks if term in (network["Name"], network["Id"])]
    found = exact or [network for network in networks if term and network["Id"].startswith(term)]
    if not found:
        raise Fault(f"network {term} not found; netctl network ls lists the networks")
    if len(found) > 1:
        raise Fault(f"network {term} is ambiguous: {len(found)} ids begin with it; give more digits")
    return found[0]


def members(topology: Json, network: str) -> Iterator[tuple[Json, Json]]:
    """Yield the containers of a network with their endpoints on it."""
    for container in topology["Containers"]:
        for endpoint in container["Endpoints"]:
            if endpoint["Network"] == network:
                yield container, endpoint
