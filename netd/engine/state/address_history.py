"""Who had which address: a container that comes again under its name gets it back while nobody else has it.

Bounded: of very many, the longest gone are forgotten first.  Kept in the store, so that the order in which addresses
were given back outlives netd too.
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
    """What a container that is gone had on a network."""

    network: str
    name: str
    """The container's."""
    addresses: tuple[Address, ...]

    @property
    def key(self) -> str:
        return f"{self.network}/{self.name}"


class AddressHistory:
    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._holders: OrderedDict[str, HistoryEntry] = OrderedDict()
        """The longest gone in front."""

    @property
    def all(self) -> tuple[HistoryEntry, ...]:
        return tuple(self._holders.values())

    def restore(self, holders: Iterable[HistoryEntry]) -> None:
        """Take up what the store has kept, in its order."""
        self._holders = OrderedDict((one.key, one) for one in holders)

    def last_addresses(self, network: str, name: str) -> tuple[Address, ...]:
        """Return what a container of that name had on the network last."""
        found = self._holders.get(f"{network}/{name}")
        return found.addresses if found else ()

    def record(self, name: str, left: Iterable[Endpoint]) -> list[Put | Drop]:
        """Remember what a container leaves behind, and return what that changes in the store."""
        changes: list[Put | Drop] = []
        for one in left:
            if not one.addresses:
                continue
            holder = HistoryEntry(one.network, name, tuple(address.ip for address in one.addresses))
            self._holders[holder.key] = holder
            self._holders.move_to_end(holder.key)
            # Put where nothing is, a document is the last of its kind.
            changes += [Drop(FORMER, holder.key), Put(FORMER, holder.key, holder)]
        while len(self._holders) > self._most:
            key, _ = self._holders.popitem(last=False)
            changes.append(Drop(FORMER, key))
        return changes

    def delete_network(self, network: str) -> list[Put | Drop]:
        """Forget all that was on a network, and return what that changes in the store."""
        gone = [key for key, holder in self._holders.items() if holder.network == network]
        for key in gone:
            del self._holders[key]
        return [Drop(FORMER, key) for key in gone]
