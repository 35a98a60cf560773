"""Finding names in the records of networks.  Pure; names are folded.

Every function looks at the networks in the order given, and the first that knows the name answers alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from netd.dns.records import NetworkRecords, Service, View, fold, names_above

HOST = ("host.docker.internal", "host.netd.internal")
"""What containers may call the host, at the address that they reach it by."""
_ABOVE_HOST = frozenset(above for name in HOST for above in names_above(name))
_PROTOCOLS = ("_tcp", "_udp", "_sctp")
_SERVICE = re.compile(r"_[^.]+\.(?:_tcp|_udp|_sctp)(?:\.|\Z)")
_MOST_OFFERS = 64
"""In an answer; who wants others asks for them by number."""


class ServicePort(NamedTuple):
    """One port of one container."""

    target: str
    port: int
    addresses: tuple[str, ...]
    """Of the target."""


def is_service(name: str) -> bool:
    """Whether *name* has the form of a service's alias, ``_name._tcp``."""
    return bool(_SERVICE.match(name)) and name.count(".") == 1


def exact(name: str, view: View, networks: Sequence[NetworkRecords]) -> tuple[str, ...] | None:
    """Return the addresses of a name as it stands, and of ``name.network``; links stand for what they lead to."""
    target = fold(view.links.get(name, name))
    for network in networks:
        if (found := network.names.get(target)) is not None:
            return found
    for first, network in _with_network(target, networks):
        if (found := network.names.get(fold(view.links.get(first, first)))) is not None:
            return found
    return None


def wild(name: str, networks: Sequence[NetworkRecords]) -> tuple[str, ...] | None:
    """Return the addresses of the longest wildcard that covers a name."""
    for above in names_above(name):
        for network in networks:
            if (found := network.names.get(f"*.{above}")) is not None:
                return found
    for first, network in _with_network(name, networks):
        for above in names_above(first):
            if (found := network.names.get(f"*.{above}")) is not None:
                return found
    return None


def services(name: str, view: View, networks: Sequence[NetworkRecords]) -> tuple[ServicePort, ...] | None:
    """Return what a name of a service offers, nothing for names that only exist; None when it is not known."""
    if not name.startswith("_"):
        return None
    for wanted, network in _places(name, networks):
        if (found := network.services.get(wanted)) is not None:
            return () if wanted.startswith(_PROTOCOLS) else _offers(found, network)
        if numbered := _by_number(wanted, network):
            return _offers(numbered, network)
    return None


def _by_number(name: str, network: NetworkRecords) -> list[Service]:
    """Return who offers the port of ``_80._tcp.web``."""
    label, _, rest = name.partition(".")
    found = network.services.get(rest, ()) if rest.startswith(_PROTOCOLS) else ()
    return [Service(one.target, int(label[1:]), 1) for one in found if _has_port(one, label[1:])]


def _places(name: str, networks: Sequence[NetworkRecords]) -> Iterator[tuple[str, NetworkRecords]]:
    """Yield the name with each network, and without a network's own name at its end with that one."""
    for network in networks:
        yield name, network
    yield from _with_network(name, networks)


def _has_port(service: Service, label: str) -> bool:
    return label.isascii() and label.isdigit() and service.port <= int(label) < service.port + service.size


def _offers(found: Sequence[Service], network: NetworkRecords) -> tuple[ServicePort, ...]:
    ending = f".{network.name}"
    every = (
        ServicePort(one.target, port, network.names.get(fold(one.target.removesuffix(ending)), ()))
        for one in found
        for port in range(one.port, one.port + one.size)
    )
    return tuple(islice(every, _MOST_OFFERS))


def is_above(name: str, view: View, networks: Sequence[NetworkRecords]) -> bool:
    """Whether there are names of ours below *name*, so that it exists."""
    if view.gateways and name in _ABOVE_HOST:
        return True
    for network in networks:
        zone = fold(network.name)
        if name in network.above or zone == name or zone.endswith(f".{name}"):
            return True
        if name.endswith(f".{zone}") and name[: -len(zone) - 1] in network.above:
            return True
    return False


def is_below_ours(name: str, view: View, networks: Sequence[NetworkRecords]) -> bool:
    """Whether *name* asks for a service of a container of ours, which only we could know of."""
    if not (found := _SERVICE.match(name)):
        return False
    return exact(name[found.end() :], view, networks) is not None


def _with_network(name: str, networks: Sequence[NetworkRecords]) -> Iterator[tuple[str, NetworkRecords]]:
    """Read ``a.b.c`` as (a.b on c) and (a on b.c), names and networks may both hold dots; yield what networks fit."""
    zones: dict[str, list[NetworkRecords]] = {}
    for network in networks:
        zones.setdefault(fold(network.name), []).append(network)
    at = name.rfind(".")
    while at > 0:
        for network in zones.get(name[at + 1 :], ()):
            yield name[:at], network
        at = name.rfind(".", 0, at)
