"""The records of all networks, and the prepared responses.

Sandboxes with equal views share one :class:`SharedView` and its prepared responses: of hundreds of containers on a
network, only the first query builds the response.  A change of a network clears the shared views that include it,
and no others.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from typing import TypeAlias

from netd.dns.messages.decide import Forward
from netd.dns.messages.message import RoundRobin
from netd.dns.messages.reverse import Zones
from netd.dns.records import MutableRecords, NetworkRecords, Patch, View

MAX_PREPARED = 512
"""Per shared view, besides ``PREPARED_PER_NAME`` for each name; limits the memory for queries in new spellings."""
PREPARED_PER_NAME = 4
"""Of most names the addresses of both families are queried, under a short and a long name."""
_MAX_FOR_NAMES = 16_384
"""``PREPARED_PER_NAME`` for all names at most."""
_DROPPED_PART = 8
"""At the limit, the oldest of this many parts is dropped."""

Prepared: TypeAlias = dict[bytes, "bytes | RoundRobin | Forward"]
"""The bytes of a query after its id → response without id, or decision to forward."""


class SharedView:
    """One view, for all sandboxes with an equal one."""

    __slots__ = ("forwarded", "max_prepared", "prepared", "streamed", "users", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.max_prepared = MAX_PREPARED
        self.prepared: Prepared = {}
        self.streamed: Prepared = {}
        """The same for TCP, where responses are not truncated."""
        self.forwarded: dict[bytes, Forward] = {}
        """The bytes of a plain query without its id and the first label of its name → decision (``decide.py``)."""
        self.users = 0

    def prepare(self, query: bytes, response: bytes | RoundRobin | Forward, stream: bool = False) -> None:
        responses = self.streamed if stream else self.prepared
        if len(responses) >= self.max_prepared:
            for key in list(itertools.islice(responses, self.max_prepared // _DROPPED_PART)):
                del responses[key]
        responses[query] = response

    def prepare_forward(self, siblings: bytes, decision: Forward) -> None:
        if len(self.forwarded) >= MAX_PREPARED:
            self.forwarded.clear()
        self.forwarded[siblings] = decision

    def forget(self) -> None:
        """Drop all prepared responses and decisions."""
        self.forwarded.clear()
        self.prepared.clear()
        self.streamed.clear()


class ViewTable:
    """The records of all networks, and all shared views."""

    def __init__(self) -> None:
        self._mutable: dict[str, MutableRecords] = {}
        self._networks: dict[str, NetworkRecords] = {}
        self.zones = Zones()
        """The subnets of all networks."""
        self._shared_views: dict[Hashable, SharedView] = {}
        self._by_network: dict[str, set[SharedView]] = {}

    @property
    def networks(self) -> Mapping[str, NetworkRecords]:
        return self._networks

    def set_network(self, network: str, records: NetworkRecords) -> None:
        self._forget_subnets(network)
        mutable = self._mutable[network] = MutableRecords(records)
        self._networks[network] = mutable.records
        self.zones.add(records.subnets)
        self._changed(network)

    def patch_network(self, network: str, patch: Patch) -> None:
        """Apply *patch* to the records of a network; ignored for an unknown network."""
        if (mutable := self._mutable.get(network)) is not None:
            mutable.apply(patch)
            self._changed(network)

    def drop_network(self, network: str) -> None:
        self._forget_subnets(network)
        self._mutable.pop(network, None)
        self._networks.pop(network, None)
        self._changed(network)

    def _forget_subnets(self, network: str) -> None:
        if (records := self._networks.get(network)) is not None:
            self.zones.remove(records.subnets)

    def acquire(self, view: View) -> SharedView:
        """Return the shared view of *view*; the caller must ``release`` it."""
        shared_view = self._shared_views.get(_key(view))
        if shared_view is None:
            shared_view = self._shared_views[_key(view)] = SharedView(view)
            for network in view.networks:
                self._by_network.setdefault(network, set()).add(shared_view)
            self._set_limit(shared_view)
        shared_view.users += 1
        return shared_view

    def release(self, shared_view: SharedView) -> None:
        shared_view.users -= 1
        if shared_view.users:
            return
        del self._shared_views[_key(shared_view.view)]
        for network in shared_view.view.networks:
            self._by_network[network].discard(shared_view)
            if not self._by_network[network]:
                del self._by_network[network]

    def _changed(self, network: str) -> None:
        for shared_view in self._by_network.get(network, ()):
            shared_view.forget()
            self._set_limit(shared_view)

    def _set_limit(self, shared_view: SharedView) -> None:
        names = sum(len(self._networks[name].names) for name in shared_view.view.networks if name in self._networks)
        shared_view.max_prepared = MAX_PREPARED + min(PREPARED_PER_NAME * names, _MAX_FOR_NAMES)


def _key(view: View) -> Hashable:
    links = frozenset(view.links.items())
    forwarding = (view.upstreams, view.domains, view.forward, view.single_labels)
    return (view.networks, links, view.gateways, forwarding)
