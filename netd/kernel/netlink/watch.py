"""Notifications of changes to links, addresses, routes, neighbours, BPF programs, sysctls and nftables on the host.

Owns three multicast sockets.  Reports only *which* objects changed; must not decide whether they are netd's and differ
from the last known facts, which :mod:`netd.kernel.worker` does.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field

from netd.kernel.netlink.messages import REPLACE, Message, Netlink, Request, attributes, messages
from netd.kernel.netlink.neighbours import link_of
from netd.kernel.netlink.notifications import listen, permanent_neighbours
from netd.kernel.netlink.pyroute2_parts import rtnl

_NETFILTER, _NFTABLES, _TABLE = 12, 10, b"netd\0"
_FAMILIES = (1, 2, 10)
"""inet, ip and ip6."""
_NEWGEN, _GETGEN = 15, 16
_ELEMENTS = frozenset({_NFTABLES << 8 | 12, _NFTABLES << 8 | 14})
"""NFT_MSG_NEWSETELEM and NFT_MSG_DELSETELEM of linux/netfilter/nf_tables.h."""
_GROUP_NFTABLES = 7
_GROUP_NEIGHBOURS = 3
_GROUPS_OF_LINKS = (
    rtnl.RTNLGRP_LINK,
    rtnl.RTNLGRP_TC,
    rtnl.RTNLGRP_IPV4_IFADDR,
    rtnl.RTNLGRP_IPV6_IFADDR,
    rtnl.RTNLGRP_IPV4_ROUTE,
    rtnl.RTNLGRP_IPV6_ROUTE,
    rtnl.RTNLGRP_IPV4_NETCONF,
    rtnl.RTNLGRP_IPV6_NETCONF,
)
_WITH_INDEX = (
    rtnl.RTM_NEWADDR,
    rtnl.RTM_DELADDR,
    rtnl.RTM_NEWQDISC,
    rtnl.RTM_DELQDISC,
    rtnl.RTM_NEWTFILTER,
    rtnl.RTM_DELTFILTER,
)
_INDEX = struct.Struct("=4xi")
"""The position of the link's index in messages about addresses, qdiscs and filters."""
_DATAGRAM = 1 << 18
_DATAGRAMS_AT_ONCE = 64
_ALL_LINKS, _FORWARDING = -1, 2
_DESTINATION, _OUT_LINK = 1, 4
_SETTLE = 0.05
"""Seconds for which events are collected: most are netd's own changes, and a check of each would delay the next."""
_REST = 0.02
"""Seconds for which a socket is not read after its first notification: a change causes a dozen, and each wake-up of
the loop would take the interpreter from the thread that makes the change."""


@dataclass(slots=True)
class KernelEvents:
    """The objects that changed since the last call of ``wait``."""

    links: set[str] = field(default_factory=set)
    indices: set[int] = field(default_factory=set)
    """Links that are known by their index only."""
    table: bool = False
    rules: bool = False
    """Another program changed nftables rules, netd's or others."""
    forwarding: bool = False
    neighbours: bool = False
    """A program set a neighbour entry; its link is in ``indices``."""
    replaced: set[tuple[bytes, int]] = field(default_factory=set)
    """Destinations (packed, with prefix length) of routes that were replaced, perhaps by routes of other links."""
    lost: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.links or self.indices or self.table or self.rules or self.forwarding or self.replaced or self.lost
        )


class KernelWatch:
    """Create it in the thread that changes the host, whose nftables transactions it ignores; use it on the loop."""

    def __init__(self) -> None:
        self._links = listen(socket.NETLINK_ROUTE, *_GROUPS_OF_LINKS)
        self._rules = listen(_NETFILTER, _GROUP_NFTABLES)
        self._neighbours = listen(socket.NETLINK_ROUTE, _GROUP_NEIGHBOURS, program=permanent_neighbours())
        self._own_pid = _nftables_pid()
        self._events = KernelEvents()
        self._changed = asyncio.Event()
        self.route_changed = asyncio.Event()
        """Set when any route changes; the consumer clears it."""
        self._closed = False
        self._table_touched = False
        self._resting: dict[socket.socket, asyncio.TimerHandle] = {}

    def start(self) -> None:
        for sock in (self._links, self._rules, self._neighbours):
            self._await(sock)

    def close(self) -> None:
        """Close the sockets; ``wait`` returns None."""
        loop = asyncio.get_running_loop()
        for timer in self._resting.values():
            timer.cancel()
        for sock in (self._links, self._rules, self._neighbours):
            loop.remove_reader(sock)
            sock.close()
        self._closed = True
        self._changed.set()

    async def wait(self) -> KernelEvents | None:
        """Wait for events and return those since the last call; None if the watch is closed."""
        await self._changed.wait()
        if not self._closed:
            await asyncio.sleep(_SETTLE)
        if self._closed:
            return None
        self._changed.clear()
        events, self._events = self._events, KernelEvents()
        return events

    def _await(self, source: socket.socket) -> None:
        self._resting.pop(source, None)
        asyncio.get_running_loop().add_reader(source, self._rest, source)

    def _rest(self, source: socket.socket) -> None:
        """Let notifications collect in the socket's buffer, then read all of them."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(source)
        self._resting[source] = loop.call_later(_REST, self._read_and_await, source)

    def _read_and_await(self, source: socket.socket) -> None:
        if self._read(source):
            self._await(source)
        else:
            self._resting[source] = asyncio.get_running_loop().call_later(0, self._read_and_await, source)

    def _read(self, source: socket.socket) -> bool:
        """Note the notifications in the buffer; return False if there may be more than are read at once."""
        drained = False
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                data = source.recv(_DATAGRAM)
            except BlockingIOError:
                drained = True
                break
            except OSError:
                # Messages were lost, in a full buffer (ENOBUFS) or otherwise.
                self._events.lost = drained = True
                break
            # The transaction is known to touch netd's table: skip its elements, which may be thousands.
            for message in messages(data, _ELEMENTS if self._table_touched else ()):
                self._note(message)
        if self._events:
            self._changed.set()
        return drained

    def _note(self, message: Message) -> None:
        if message.kind >> 8 == _NFTABLES:
            self._note_rules(message)
        elif message.kind in (rtnl.RTM_NEWLINK, rtnl.RTM_DELLINK):
            self._note_link(attributes(message.body, 16).get(3))
        elif message.kind in _WITH_INDEX:
            self._events.indices.add(_INDEX.unpack_from(message.body)[0])
        elif message.kind in (rtnl.RTM_NEWROUTE, rtnl.RTM_DELROUTE):
            self._note_route(message)
        elif message.kind == rtnl.RTM_NEWNEIGH:
            self._events.indices.add(link_of(message))
            self._events.neighbours = True
        elif message.kind == rtnl.RTM_NEWNETCONF:
            self._note_sysctl(message)

    def _note_link(self, name: bytes | None) -> None:
        if name:
            self._events.links.add(name.rstrip(b"\0").decode(errors="replace"))

    def _note_route(self, message: Message) -> None:
        """Note the link of a deleted route; the kernel does not report the route that a new one replaces."""
        self.route_changed.set()
        if message.kind == rtnl.RTM_NEWROUTE:
            if message.flags & REPLACE:
                destination = attributes(message.body, 12).get(_DESTINATION, b"")
                self._events.replaced.add((destination, message.body[1]))
        elif (link := attributes(message.body, 12).get(_OUT_LINK)) is not None:
            self._events.indices.add(int.from_bytes(link, sys.byteorder))

    def _note_sysctl(self, message: Message) -> None:
        """Note a changed sysctl of a link or of the host; the kernel reports forwarding, rp_filter and proxy_arp."""
        attrs = attributes(message.body, 4)
        link = int.from_bytes(attrs.get(1, b""), sys.byteorder, signed=True)
        if link > 0:
            self._events.indices.add(link)
        elif link == _ALL_LINKS and _FORWARDING in attrs:
            self._events.forwarding = True

    def _note_rules(self, message: Message) -> None:
        """Note a changed object; at the end of a transaction (NEWGEN), report the table unless netd made the change."""
        if message.kind & 0xFF != _NEWGEN:
            self._table_touched = self._table_touched or _is_own_table(message)
            return
        if _generation_pid(message) != self._own_pid:
            self._events.rules = True
            self._events.table = self._events.table or self._table_touched
        self._table_touched = False


def _is_own_table(message: Message) -> bool:
    return message.body[0] in _FAMILIES and attributes(message.body, 4).get(1) == _TABLE


def _generation_pid(message: Message) -> bytes | None:
    return attributes(message.body, 4).get(2)


def _nftables_pid() -> bytes | None:
    """Return this thread's id as in NFTA_GEN_PROC_PID of its transactions, which is not that of its PID namespace.

    None if the kernel has no nftables.
    """
    with Netlink(_NETFILTER) as netlink, suppress(OSError):
        return _generation_pid(netlink.get(Request(_NFTABLES << 8 | _GETGEN, bytes(4)))[0])
    return None
