"""Addresses of deleted endpoints: a new container of the same name gets the same addresses if they are free.

Bounded to 8,192 entries; the oldest are dropped first.  Stored, so that the order of release survives restarts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from netd.common.addresses import Address
from netd.common.store.store import Drop, Put
from netd.model import Endpoint

FORMER = "former"
_MOST = 8192


class HistoryEntry(msgspec.Struct, frozen=True):
    """The addresses that a container had on a network when its endpoint was deleted."""

    network: str
    name: str
    """The container's name."""
    addresses: tuple[Address, ...]

    @property
    def key(self) -> str:
        return f"{self.network}/{self.name}"


class AddressHistory:
    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._holders: OrderedDict[str, HistoryEntry] = OrderedDict()
        """In the order of release, the oldest first."""

    @property
    def all(self) -> tuple[HistoryEntry, ...]:
        return tuple(self._holders.values())

    def restore(self, holders: Iterable[HistoryEntry]) -> None:
        """Load the entries of the store, in the store's order."""
        self._holders = OrderedDict((holder.key, holder) for holder in holders)

    def last_addresses(self, network: str, name: str) -> tuple[Address, ...]:
        """Return the addresses that a container of that name last had on the network."""
        found = self._holders.get(f"{network}/{name}")
        return found.addresses if found else ()

    def record(self, name: str, released: Iterable[Endpoint]) -> list[Put | Drop]:
        """Record the addresses of deleted endpoints; return the changes to be stored."""
        changes: list[Put | Drop] = []
        for endpoint in released:
            if not endpoint.addresses:
                continue
            holder = HistoryEntry(endpoint.network, name, tuple(address.ip for address in endpoint.addresses))
            self._holders[holder.key] = holder
            self._holders.move_to_end(holder.key)
            # Dropping the document first makes the store append it, so that documents stay in the order of release.
            changes += [Drop(FORMER, holder.key), Put(FORMER, holder.key, holder)]
        while len(self._holders) > self._most:
            key, _ = self._holders.popitem(last=False)
            changes.append(Drop(FORMER, key))
        return changes

    def delete_network(self, network: str) -> list[Put | Drop]:
        """Delete the entries of a network; return the changes to be stored."""
        keys = [key for key, holder in self._holders.items() if holder.network == network]
        for key in keys:
            del self._holders[key]
        return [Drop(FORMER, key) for key in keys]
