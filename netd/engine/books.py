"""The names on each network, as the name server is to know them.  Pure.

A sandbox that comes or goes changes the entries of its own names and costs as much, however many others there are.
"""

from __future__ import annotations

from collections.abc import Mapping

from netd.dns.records import NetworkRecords, Patch, fold
from netd.model import Endpoint, Network, Sandbox


class Book:
    """The names of one network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._holders: dict[str, dict[str, tuple[str, ...]]] = {}
        """Folded name → sandbox → addresses."""
        self._pointers: dict[str, str] = {}

    def records(self) -> NetworkRecords:
        names = {name: _all(holders) for name, holders in self._holders.items()}
        subnets = tuple(str(pool.subnet) for pool in self._network.pools)
        return NetworkRecords(self._network.name, names, dict(self._pointers), subnets)

    def turn(self, before: Sandbox | None, after: Sandbox | None) -> Patch | None:
        """Note that a sandbox changed, came or went; returns what that changes, None when nothing."""
        old, new = _entries(before, self._network), _entries(after, self._network)
        touched: list[str] = []
        for name in old.names.keys() - new.names.keys():
            self._holders[name].pop(old.sandbox, None)
            touched.append(name)
        for name, addresses in new.names.items():
            if old.names.get(name) != addresses:
                self._holders.setdefault(name, {})[new.sandbox] = addresses
                touched.append(name)
        pointers = {address: "" for address in old.pointers.keys() - new.pointers.keys()}
        pointers |= {address: name for address, name in new.pointers.items() if old.pointers.get(address) != name}
        return self._patch(touched, pointers)

    def _patch(self, touched: list[str], pointers: dict[str, str]) -> Patch | None:
        names = {name: _all(self._holders[name]) for name in touched}
        for name, addresses in names.items():
            if not addresses:
                del self._holders[name]
        for address, name in pointers.items():
            if name:
                self._pointers[address] = name
            else:
                self._pointers.pop(address, None)
        return Patch(names, pointers) if names or pointers else None


class _Entries:
    """What one sandbox brings to a network's names."""

    def __init__(self, sandbox: str = "") -> None:
        self.sandbox = sandbox
        self.names: dict[str, tuple[str, ...]] = {}
        self.pointers: dict[str, str] = {}


def _entries(sandbox: Sandbox | None, network: Network) -> _Entries:
    endpoint: Endpoint | None = sandbox.endpoint_on(network.id) if sandbox else None
    if sandbox is None or endpoint is None or not endpoint.addresses:
        return _Entries()
    found = _Entries(sandbox.id)
    addresses = tuple(str(one.ip) for one in endpoint.addresses)
    found.names = {fold(name): addresses for name in sandbox.names(endpoint)}
    found.pointers = dict.fromkeys(addresses, f"{sandbox.name}.{network.name}")
    return found


def _all(holders: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(address for addresses in holders.values() for address in addresses)
