"""The upstream servers of a sandbox's queries, with what is derived from them once instead of for each query."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import TYPE_CHECKING, TypeAlias

from netd.dns.forwarding.port_table import PortTable
from netd.dns.forwarding.udp_ports import UdpPorts
from netd.dns.forwarding.upstreams import UpstreamHealth, server_key
from netd.dns.records import Upstream
from netd.dns.sandbox import ServedSandbox

if TYPE_CHECKING:
    from netd.dns.forwarding.quick_query import QuickQuery
    from netd.dns.forwarding.upstream_race import UpstreamRace

Races: TypeAlias = "dict[bytes, UpstreamRace | QuickQuery]"
"""The pending queries of a sandbox, the oldest first: key of the question → query."""
_MAX_PREFIXES = 4096
_PREFIX = 8
"""Bytes of a cache prefix."""


class Route:
    """A list of upstream servers, as a sandbox uses it."""

    __slots__ = (
        "_changes", "_health", "_is_quick", "ports", "prefix", "races", "sandbox", "server_key", "upstream",
        "upstreams",
    )  # fmt: skip

    def __init__(
        self,
        sandbox: str,
        upstreams: tuple[Upstream, ...],
        prefix: bytes,
        races: Races,
        ports: UdpPorts,
        health: UpstreamHealth,
    ) -> None:
        self.sandbox = sandbox
        self.races = races
        self.upstreams = upstreams
        self.upstream = upstreams[0]
        self.server_key = server_key(sandbox, self.upstream)
        self.prefix = prefix
        """The first bytes of the cache keys of queries over UDP (``CachePrefixes``)."""
        self.ports = ports
        self._health = health
        self._changes = -1
        self._is_quick = False

    def is_quick(self) -> bool:
        """Return True if queries are sent to the first server, alone and in mixed case."""
        changes = self._health.changes
        if changes != self._changes:
            self._changes = changes
            self._is_quick = self._health.is_plain_choice(self.sandbox, self.upstreams)
        return self._is_quick


class CachePrefixes:
    """Short unique prefixes of cache keys: the network namespace, upstream servers and protocol of a query."""

    def __init__(self) -> None:
        self._prefixes: dict[Hashable, bytes] = {}
        self._numbers = itertools.count()

    def of(self, sandbox: ServedSandbox, upstreams: tuple[Upstream, ...], stream: bool) -> bytes:
        """Return the prefix, which is the same for all sandboxes if no server is queried from inside a sandbox."""
        scope = sandbox.number if any([upstream.inside for upstream in upstreams]) else 0
        key = (scope, upstreams, stream)
        prefix = self._prefixes.get(key)
        if prefix is None:
            if len(self._prefixes) >= _MAX_PREFIXES:
                self._prefixes.clear()  # Numbers are not used again, so that no earlier entry is found.
            prefix = self._prefixes[key] = next(self._numbers).to_bytes(_PREFIX)
        return prefix


class RouteTable:
    """The routes of all sandboxes: the last one of each."""

    def __init__(self, ports: PortTable, health: UpstreamHealth) -> None:
        self.prefixes = CachePrefixes()
        self.races: dict[str, Races] = {}
        """Sandbox → its pending queries."""
        self._ports = ports
        self._health = health
        self._routes: dict[ServedSandbox, Route] = {}

    def of(self, sandbox: ServedSandbox, upstreams: tuple[Upstream, ...]) -> Route:
        """Return the route of queries of *sandbox* over UDP."""
        route = self._routes.get(sandbox)
        if route is None or route.upstreams != upstreams:
            prefix = self.prefixes.of(sandbox, upstreams, False)
            ports = self._ports.of(sandbox, upstreams[0])
            races = self.races_of(sandbox)
            route = self._routes[sandbox] = Route(sandbox.id, upstreams, prefix, races, ports, self._health)
        return route

    def races_of(self, sandbox: ServedSandbox) -> Races:
        """Return the pending queries of a sandbox."""
        return self.races.setdefault(sandbox.id, {})

    def forget(self, sandbox: ServedSandbox) -> None:
        self._routes.pop(sandbox, None)
        self.races.pop(sandbox.id, None)
