"""Lookup of names in the records of networks.  Pure; names are folded.

Every function searches the networks in the given order; the first that has the name supplies the whole answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from netd.dns.records import NetworkRecords, Service, View, ancestors, fold

HOST_NAMES = ("host.docker.internal", "host.netd.internal")
"""Names of the host, which resolve to the sandbox's gateways."""
_HOST_ANCESTORS = frozenset(ancestor for name in HOST_NAMES for ancestor in ancestors(name))
_PROTOCOLS = ("_tcp", "_udp", "_sctp")
_SERVICE = re.compile(r"_[^.]+\.(?:_tcp|_udp|_sctp)(?:\.|\Z)")
_MAX_SERVICE_PORTS = 64
"""Per response; other ports are found by an SRV query with the port number."""


class ServicePort(NamedTuple):
    """A port of a container, for an SRV record."""

    target: str
    port: int
    addresses: tuple[str, ...]
    """The addresses of the target."""


def is_service(name: str) -> bool:
    """Return True for the form of a service's alias, ``_name._tcp``."""
    return bool(_SERVICE.match(name)) and name.count(".") == 1


def exact(name: str, view: View, networks: Sequence[NetworkRecords]) -> tuple[str, ...] | None:
    """Return the addresses of a name or of ``name.network``, with links resolved; None if unknown."""
    target = fold(view.links[name]) if name in view.links else name
    for network in networks:
        if (found := network.names.get(target)) is not None:
            return found
    for first, network in _with_network(target, networks):
        if (found := network.names.get(fold(view.links.get(first, first)))) is not None:
            return found
    return None


def wildcard(name: str, networks: Sequence[NetworkRecords]) -> tuple[str, ...] | None:
    """Return the addresses of the longest wildcard that matches a name; None if there is none."""
    if not any(network.ancestors for network in networks):
        return None
    for ancestor in ancestors(name):
        for network in networks:
            if (found := network.names.get(f"*.{ancestor}")) is not None:
                return found
    for first, network in _with_network(name, networks):
        for ancestor in ancestors(first):
            if (found := network.names.get(f"*.{ancestor}")) is not None:
                return found
    return None


def services(name: str, view: View, networks: Sequence[NetworkRecords]) -> tuple[ServicePort, ...] | None:
    """Return the ports of a service name; empty for a name that exists without SRV records, None for an unknown one."""
    if not name.startswith("_"):
        return None
    for service, network in _with_every_network(name, networks):
        if (found := network.services.get(service)) is not None:
            return () if service.startswith(_PROTOCOLS) else _service_ports(found, network)
        if numbered := _by_number(service, network):
            return _service_ports(numbered, network)
    return None


def _by_number(name: str, network: NetworkRecords) -> list[Service]:
    """Return the services of ``_80._tcp.web`` that include port 80."""
    label, _, rest = name.partition(".")
    found = network.services.get(rest, ()) if rest.startswith(_PROTOCOLS) else ()
    return [Service(service.target, int(label[1:]), 1) for service in found if _has_port(service, label[1:])]


def _with_every_network(name: str, networks: Sequence[NetworkRecords]) -> Iterator[tuple[str, NetworkRecords]]:
    """Yield the name with each network, then the name without a trailing network name with that network."""
    for network in networks:
        yield name, network
    yield from _with_network(name, networks)


def _has_port(service: Service, label: str) -> bool:
    return label.isascii() and label.isdigit() and service.port <= int(label) < service.port + service.size


def _service_ports(found: Sequence[Service], network: NetworkRecords) -> tuple[ServicePort, ...]:
    ending = f".{network.name}"
    every = (
        ServicePort(service.target, port, network.names.get(fold(service.target.removesuffix(ending)), ()))
        for service in found
        for port in range(service.port, service.port + service.size)
    )
    return tuple(islice(every, _MAX_SERVICE_PORTS))


def is_ancestor(name: str, view: View, networks: Sequence[NetworkRecords]) -> bool:
    """Return True if the records have names below *name*, so that it exists too (RFC 8020)."""
    if view.gateways and name in _HOST_ANCESTORS:
        return True
    for network in networks:
        zone = network.zone
        if name in network.ancestors or zone == name or zone.endswith(f".{name}"):
            return True
        if name.endswith(f".{zone}") and name[: -len(zone) - 1] in network.ancestors:
            return True
    return False


def is_container_service(name: str, view: View, networks: Sequence[NetworkRecords]) -> bool:
    """Return True for a service name below a container's name; such names exist in the records only."""
    if not (found := _SERVICE.match(name)):
        return False
    return exact(name[found.end() :], view, networks) is not None


def _with_network(name: str, networks: Sequence[NetworkRecords]) -> Iterator[tuple[str, NetworkRecords]]:
    """Split ``a.b.c`` into (a.b, network c) and (a, network b.c), as both may hold dots; yield existing networks."""
    candidates = [network for network in networks if name.endswith(network.zone)]
    at = name.rfind(".") if candidates else 0
    while at > 0:
        for network in candidates:
            if network.zone == name[at + 1 :]:
                yield name[:at], network
        at = name.rfind(".", 0, at)
