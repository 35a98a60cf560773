"""The DNS records of each network, for netd-dns.  Pure.

An update changes the entries of one sandbox's names; its cost depends only on the number of sandboxes with these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Generic, TypeVar

from netd.dns.messages.name_lookup import is_service
from netd.dns.records import NetworkRecords, Patch, Service, fold
from netd.model import Endpoint, Network, Sandbox

T = TypeVar("T")
_LONGEST_LABEL, _LONGEST_NAME = 63, 253
"""Bytes of a label, and of a name without its length bytes at both ends."""


class NetworkNames:
    """The DNS names of one network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._names: _SharedNames[str] = _SharedNames()
        self._services: _SharedNames[Service] = _SharedNames()
        self._pointers: dict[str, str] = {}

    def records(self) -> NetworkRecords:
        subnets = tuple(str(pool.subnet) for pool in self._network.pools)
        return NetworkRecords(
            self._network.name, self._names.all(), dict(self._pointers), subnets, self._services.all()
        )

    def update(self, before: Sandbox | None, after: Sandbox | None) -> Patch | None:
        """Replace a sandbox's records; return the patch for netd-dns, None if nothing changes."""
        old, new = _entries(before, self._network), _entries(after, self._network)
        sandbox = old.sandbox or new.sandbox
        names = self._names.update(sandbox, old.names, new.names)
        services = self._services.update(sandbox, old.services, new.services)
        pointers = {address: "" for address in old.pointers.keys() - new.pointers.keys()}
        pointers |= {address: name for address, name in new.pointers.items() if old.pointers.get(address) != name}
        for address, name in pointers.items():
            if name:
                self._pointers[address] = name
            else:
                self._pointers.pop(address, None)
        return Patch(names, pointers, services) or None


class _SharedNames(Generic[T]):
    """Names that several sandboxes may have, with the values of each sandbox."""

    def __init__(self) -> None:
        self._holders: dict[str, dict[str, tuple[T, ...]]] = {}
        """Folded name → sandbox → its values."""

    def all(self) -> dict[str, tuple[T, ...]]:
        return {name: _all_values(holders) for name, holders in self._holders.items()}

    def update(
        self, sandbox: str, old: Mapping[str, tuple[T, ...]], new: Mapping[str, tuple[T, ...]]
    ) -> dict[str, tuple[T, ...]]:
        """Replace a sandbox's values; return all values of the names that changed, empty for deleted names."""
        changed: dict[str, tuple[T, ...]] = {}
        for name in old.keys() - new.keys():
            holders = self._holders[name]
            holders.pop(sandbox, None)
            changed[name] = _all_values(holders)
            if not holders:
                del self._holders[name]
        for name, values in new.items():
            if old.get(name) != values:
                holders = self._holders.setdefault(name, {})
                holders[sandbox] = values
                changed[name] = _all_values(holders)
        return changed


def _all_values(holders: Mapping[str, tuple[T, ...]]) -> tuple[T, ...]:
    return tuple(value for values in holders.values() for value in values)


class _Entries:
    """The records of one sandbox on one network."""

    def __init__(self, sandbox: str = "") -> None:
        self.sandbox = sandbox
        self.names: dict[str, tuple[str, ...]] = {}
        self.pointers: dict[str, str] = {}
        self.services: dict[str, tuple[Service, ...]] = {}


def _entries(sandbox: Sandbox | None, network: Network) -> _Entries:
    endpoint: Endpoint | None = sandbox.endpoint_on(network.id) if sandbox else None
    if sandbox is None or endpoint is None or not endpoint.addresses:
        return _Entries()
    found = _Entries(sandbox.id)
    addresses = tuple(str(address.ip) for address in endpoint.addresses)
    names = [fold(name) for name in sandbox.names(endpoint)]
    plain = [name for name in names if not is_service(name)]
    full_name = _full_name(sandbox, network)
    found.names = dict.fromkeys(plain, addresses)
    found.pointers = dict.fromkeys(addresses, full_name)
    found.services = _services(sandbox, full_name, plain, [name for name in names if is_service(name)])
    return found


def _full_name(sandbox: Sandbox, network: Network) -> str:
    """Return ``<container>.<network>``; without the network if its name cannot be a domain (RFC 1035)."""
    name = f"{sandbox.name}.{network.name}"
    labels = network.name.encode().split(b".")
    is_domain = all(0 < len(label) <= _LONGEST_LABEL for label in labels) and len(name.encode()) <= _LONGEST_NAME
    return name if is_domain else sandbox.name


def _services(sandbox: Sandbox, target: str, names: list[str], aliases: list[str]) -> dict[str, tuple[Service, ...]]:
    """Return the SRV services of the service aliases (``_web._tcp``) and of ``_tcp.<name>``, for queries by port."""
    ports = _ports(
        tuple(sandbox.exposed_spans()),
        tuple((request.protocol, request.target, request.count) for request in sandbox.port_requests),
    )
    found: dict[str, tuple[Service, ...]] = {}
    for protocol, runs in ports.items():
        offered = tuple(Service(target, first, size) for first, size in runs)
        found |= {f"_{protocol}.{name}": offered for name in names if not name.startswith("*")}
    for alias in aliases:
        runs = ports.get(alias.rpartition("._")[2], ())
        offered = tuple(Service(target, first, size) for first, size in runs) or (Service(target, 0, 0),)
        found |= {name: offered for name in (alias, *(f"{alias}.{name}" for name in names if name[0] != "*"))}
    return found


@lru_cache(maxsize=64)
def _ports(
    exposed: tuple[tuple[str, int, int], ...], published: tuple[tuple[str, int, int], ...]
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the ports by protocol as runs (first, count), because thousands of ports usually form few runs."""
    every: dict[str, set[int]] = {}
    for protocol, first, last in exposed:
        every.setdefault(protocol, set()).update(range(first, last + 1))
    for protocol, first, size in published:
        every.setdefault(protocol, set()).update(range(first, first + size))
    return {protocol: _runs(sorted(ports)) for protocol, ports in every.items()}


def _runs(ports: list[int]) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    for port in ports:
        if runs and sum(runs[-1]) == port:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((port, 1))
    return tuple(runs)
