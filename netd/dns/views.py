"""The records as the server holds them, and the replies prepared from them.

Sandboxes that see the same share a scope, and with it the prepared replies: of hundreds of containers on one
network only the first asks for the work of building a reply.  A change to a network empties the scopes that look
at it, and no others.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeAlias

from netd.dns.messages.decide import Forward
from netd.dns.messages.message import RoundRobin
from netd.dns.messages.reverse import Zones
from netd.dns.records import MutableRecords, NetworkRecords, Patch, View

MOST_PREPARED = 512
"""Per scope; beyond it all are dropped, so that whoever asks for ever new spellings gains nothing."""

Prepared: TypeAlias = dict[bytes, "bytes | RoundRobin | Forward"]
"""What to do with a question, by its bytes after the id."""


class SharedView:
    """One view, for all sandboxes that have it."""

    __slots__ = ("prepared", "streamed", "users", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.prepared: Prepared = {}
        self.streamed: Prepared = {}
        """The same for TCP, where there is room for everything."""
        self.users = 0

    def prepare(self, question: bytes, ready: bytes | RoundRobin | Forward, stream: bool = False) -> None:
        held = self.streamed if stream else self.prepared
        if len(held) >= MOST_PREPARED:
            held.clear()
        held[question] = ready

    def forget(self) -> None:
        """Drop all that is prepared."""
        self.prepared.clear()
        self.streamed.clear()


class ViewTable:
    """All networks and all scopes."""

    def __init__(self) -> None:
        self._ledgers: dict[str, MutableRecords] = {}
        self._networks: dict[str, NetworkRecords] = {}
        self.zones = Zones()
        """The subnets of all networks."""
        self._scopes: dict[Hashable, SharedView] = {}
        self._by_network: dict[str, set[SharedView]] = {}

    @property
    def networks(self) -> Mapping[str, NetworkRecords]:
        return self._networks

    def set_network(self, network: str, records: NetworkRecords) -> None:
        self._forget_subnets(network)
        ledger = self._ledgers[network] = MutableRecords(records)
        self._networks[network] = ledger.records
        self.zones.add(records.subnets)
        self._changed(network)

    def patch_network(self, network: str, patch: Patch) -> None:
        """Change some records of a network; for one that is not known, nothing happens."""
        if (ledger := self._ledgers.get(network)) is not None:
            ledger.apply(patch)
            self._changed(network)

    def drop_network(self, network: str) -> None:
        self._forget_subnets(network)
        self._ledgers.pop(network, None)
        self._networks.pop(network, None)
        self._changed(network)

    def _forget_subnets(self, network: str) -> None:
        if (records := self._networks.get(network)) is not None:
            self.zones.remove(records.subnets)

    def enter(self, view: View) -> SharedView:
        """Return the scope of *view*; ``leave`` it when it is no longer used."""
        scope = self._scopes.get(_key(view))
        if scope is None:
            scope = self._scopes[_key(view)] = SharedView(view)
            for network in view.networks:
                self._by_network.setdefault(network, set()).add(scope)
        scope.users += 1
        return scope

    def leave(self, scope: SharedView) -> None:
        scope.users -= 1
        if scope.users:
            return
        del self._scopes[_key(scope.view)]
        for network in scope.view.networks:
            self._by_network[network].discard(scope)
            if not self._by_network[network]:
                del self._by_network[network]

    def _changed(self, network: str) -> None:
        for scope in self._by_network.get(network, ()):
            scope.forget()


def _key(view: View) -> Hashable:
    links = frozenset(view.links.items())
    asking = (view.upstreams, view.domains, view.forward, view.single_labels)
    return (view.networks, links, view.gateways, asking)
