"""Links, addresses and routes of the host that are not netd's, kept in memory and read again after a change.

A host with a thousand networks has thousands of routes, and reading them takes tens of milliseconds.  A notification
socket of its own tells before each use whether another program has changed anything: the kernel queues notifications
before a change returns, so nothing is missed.  Changes of netd's own links invalidate nothing.

Must be created and used in one thread, whose network namespace is the host, except for ``known``, which any thread may
call.  Changes nothing.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from netd.common.addresses import FAMILIES, Family, Subnet
from netd.host_protocol import RouteEntry
from netd.kernel.links import bridges
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.messages import Message, attributes, messages
from netd.kernel.netlink.notifications import listen
from netd.kernel.netlink.pyroute2_parts import rtnl as numbers
from netd.kernel.netlink.rtnl_socket import Rtnl

_GROUPS = (
    numbers.RTNLGRP_LINK,
    numbers.RTNLGRP_IPV4_IFADDR,
    numbers.RTNLGRP_IPV6_IFADDR,
    numbers.RTNLGRP_IPV4_ROUTE,
    numbers.RTNLGRP_IPV6_ROUTE,
)
_LINK_MESSAGES = (numbers.RTM_NEWLINK, numbers.RTM_DELLINK)
_ADDRESS_MESSAGES = (numbers.RTM_NEWADDR, numbers.RTM_DELADDR)
_ROUTE_HEADER, _OUT_LINK, _MTU = 12, 4, 4
_INDEX = struct.Struct("=4xi")
_OWN_NAME = re.compile(r"nd-[0-9a-f]{12}|ndp[0-9a-f]{10}|nds[0-9a-f]{8}-\d+|ndj[0-9a-f]{8}-\d+[ab]|ndx\d+")
"""Names that netd chooses; links of networks with another bridge name are known by their facts."""
_DATAGRAM = 1 << 18
_MAIN_TABLE = 254


@dataclass(frozen=True, slots=True)
class _Contents:
    names: dict[int, str]
    """Links that are not netd's, by index."""
    subnets: tuple[Subnet, ...]
    routes: tuple[RouteEntry, ...]
    default_links: frozenset[int]
    """The links of default routes."""
    uplinks: Mapping[Family, tuple[str, ...]]
    """The links of the default routes that the host uses, by family."""


class Known(NamedTuple):
    subnets: tuple[Subnet, ...]
    routes: tuple[RouteEntry, ...]
    default_mtu: int


class Surroundings:
    """*is_known* returns whether a link of this name belongs to netd's networks."""

    def __init__(self, host: Rtnl, is_known: Callable[[str], bool]) -> None:
        self._host = host
        self._is_known = is_known
        self._notifications = listen(socket.NETLINK_ROUTE, *_GROUPS)
        self._contents: _Contents | None = None
        self._own: set[int] = set()
        self._links: dict[int, tuple[str, int]] = {}
        """Names and MTUs of foreign links as last notified."""
        self._default_mtu: int | None = None
        self._version = self._reported = 0
        self._lock = threading.RLock()
        """Held while notifications are read and the contents are used or replaced."""

    def close(self) -> None:
        self._notifications.close()

    def known(self) -> Known | None:
        """Return what the methods return, if the kernel need not be read; None otherwise.

        Any thread may call it.  Does not wait for another thread.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self._drain()
            contents, mtu = self._contents, self._default_mtu
            return None if contents is None or mtu is None else Known(contents.subnets, contents.routes, mtu)
        finally:
            self._lock.release()

    def note_changes(self) -> None:
        """Read the notifications, so that the next request finds few."""
        with self._lock:
            self._drain()

    def subnets(self) -> tuple[Subnet, ...]:
        """Return the subnets of addresses and routes, except default routes."""
        return self._current().subnets

    def routes(self) -> tuple[RouteEntry, ...]:
        """Return the routes of every table, except default routes."""
        return self._current().routes

    def default_mtu(self) -> int:
        """Return the smallest MTU of the links with default routes; 0 if there is none."""
        with self._lock:
            contents = self._current()
            if self._default_mtu is None:
                found = [link.mtu for index in contents.default_links if (link := self._host.find(index)) is not None]
                self._default_mtu = min(found, default=0)
            return self._default_mtu

    def uplinks(self) -> Mapping[Family, tuple[str, ...]]:
        """Return the links of the default routes with the lowest metric of the main table, by family."""
        return self._current().uplinks

    def changed(self) -> bool:
        """Return whether anything has changed since the last call."""
        with self._lock:
            self._drain()
            changed, self._reported = self._version != self._reported, self._version
            return changed

    def invalidate(self) -> None:
        """Read everything again at the next use: a foreign link has become netd's, or has ceased to be."""
        with self._lock:
            self._contents, self._default_mtu = None, None
            self._version += 1

    def _current(self) -> _Contents:
        with self._lock:
            self._drain()
            if self._contents is None:
                self._contents = self._read()
            return self._contents

    def _read(self) -> _Contents:
        links = self._host.names_and_aliases()
        self._own = {index for index, (name, alias) in links.items() if self._is_known(name) or alias == bridges.MARK}
        self._links = {}
        names = {index: name for index, (name, _) in links.items() if index not in self._own}
        addresses = self._host.addresses()
        routes = [route for route in self._host.routes() if route.link not in self._own]
        used = [route for route in routes if rtnl.uses_destination(route)]
        subnets = {address.network for index, group in addresses.items() if index not in self._own for address in group}
        return _Contents(
            names,
            tuple(sorted(subnets.union(route.destination for route in used), key=_order)),
            tuple(RouteEntry(route.destination, names[route.link]) for route in used if route.link in names),
            frozenset(
                link for route in routes if rtnl.is_default(route) for link in (route.link, *route.further_links)
            ),
            {family: _uplinks(routes, names, family) for family in FAMILIES},
        )

    def _drain(self) -> None:
        for message in self._received():
            if self._is_foreign(message):
                self.invalidate()

    def _received(self) -> Iterator[Message]:
        while True:
            try:
                data = self._notifications.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:  # Messages were lost (ENOBUFS).
                self.invalidate()
                continue
            yield from messages(data)

    def _is_foreign(self, message: Message) -> bool:
        if message.kind in _LINK_MESSAGES:
            return self._is_foreign_link(message)
        if message.kind in _ADDRESS_MESSAGES:
            return _INDEX.unpack_from(message.body)[0] not in self._own
        out = attributes(message.body, _ROUTE_HEADER).get(_OUT_LINK)
        # Routes without a link are blackholes or have several next hops.
        return out is None or struct.unpack("=i", out)[0] not in self._own

    def _is_foreign_link(self, message: Message) -> bool:
        """Return whether a foreign link was created, deleted or renamed, or got another MTU."""
        index, name = rtnl.read_first_name(message)
        if _OWN_NAME.fullmatch(name) or self._is_known(name) or rtnl.read_name(message)[2] == bridges.MARK:
            if message.kind == numbers.RTM_DELLINK:
                self._own.discard(index)
            else:
                self._own.add(index)
            return False
        self._own.discard(index)
        if message.kind == numbers.RTM_DELLINK:
            self._links.pop(index, None)
            return True
        properties = name, rtnl.read_mtu(message)
        changed = self._links.get(index) != properties
        self._links[index] = properties
        return changed


def _order(subnet: Subnet) -> tuple[int, bytes, int]:
    return subnet.version, subnet.network_address.packed, subnet.prefixlen


def _uplinks(routes: Iterable[rtnl.RtnlRoute], names: Mapping[int, str], family: Family) -> tuple[str, ...]:
    found = [
        route
        for route in routes
        if rtnl.is_default(route) and route.destination.version == family and route.table == _MAIN_TABLE
    ]
    best = min((route.metric for route in found), default=0)
    indexes = (link for route in found if route.metric == best for link in (route.link, *route.further_links))
    return tuple(dict.fromkeys(names[index] for index in indexes if index in names))
