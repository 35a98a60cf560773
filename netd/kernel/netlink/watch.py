"""Listening to what happens to links, addresses, routes, guards, forwarding and nftables on the host.

Owns two multicast sockets and says only *where* something happened; whether it was ours and still
matters is judged by the host, against what it last knew.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from pyroute2.netlink import rtnl

from netd.kernel.netlink.messages import Message, Netlink, Request, attributes, messages

_NETFILTER, _NFTABLES, _TABLE = 12, 10, b"netd\0"
_FAMILIES = (1, 2, 10)
"""inet, ip and ip6."""
_NEWGEN, _GETGEN = 15, 16
_ELEMENTS = frozenset({_NFTABLES << 8 | 12, _NFTABLES << 8 | 14})
"""NFT_MSG_NEWSETELEM and NFT_MSG_DELSETELEM of linux/netfilter/nf_tables.h."""
_GROUP_NFTABLES = 7
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
_SOL_NETLINK, _ADD_MEMBERSHIP, _SO_RCVBUFFORCE = 270, 1, 33
_INDEX = struct.Struct("=4xi")
"""Where messages about addresses, queues and filters say whose they are."""
_BUFFER = 8 << 20
_DATAGRAM = 1 << 18
_DATAGRAMS_AT_ONCE = 64
_ALL_LINKS = 0xFFFFFFFF
_SETTLE = 0.05
"""Seconds for which changes are gathered: most are our own, and looking at each at once would hold up the next."""


@dataclass(slots=True)
class Seen:
    """Where something happened since it was last asked."""

    links: set[str] = field(default_factory=set)
    indices: set[int] = field(default_factory=set)
    """Links of which only the index is told."""
    table: bool = False
    forwarding: bool = False
    lost: bool = False

    def __bool__(self) -> bool:
        return bool(self.links or self.indices or self.table or self.forwarding or self.lost)


class KernelWatch:
    """Made in the thread that changes the host, whose doings to the table are no news; used from the event loop."""

    def __init__(self) -> None:
        self._links = _listen(socket.NETLINK_ROUTE, *_GROUPS_OF_LINKS)
        self._rules = _listen(_NETFILTER, _GROUP_NFTABLES)
        self._own_maker = _who_am_i()
        self._seen = Seen()
        self._something = asyncio.Event()
        self.route_changed = asyncio.Event()
        """Set when any route changes; whoever waits for it clears it."""
        self._closed = False
        self._table_touched = False

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._links, self._read, self._links)
        loop.add_reader(self._rules, self._read, self._rules)

    def close(self) -> None:
        """End ``wait``, and stop listening."""
        loop = asyncio.get_running_loop()
        for one in (self._links, self._rules):
            loop.remove_reader(one)
            one.close()
        self._closed = True
        self._something.set()

    async def wait(self) -> Seen | None:
        """Return what happened since the last call, when something has; None when the watch is closed."""
        await self._something.wait()
        if not self._closed:
            await asyncio.sleep(_SETTLE)
        if self._closed:
            return None
        self._something.clear()
        seen, self._seen = self._seen, Seen()
        return seen

    def _read(self, source: socket.socket) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                data = source.recv(_DATAGRAM)
            except BlockingIOError:
                break
            except OSError:
                # Messages are lost, for want of buffers (ENOBUFS) or whatever else.
                self._seen.lost = True
                break
            # Of a transaction that is known to touch our table, thousands of elements may say no more.
            for message in messages(data, _ELEMENTS if self._table_touched else ()):
                self._note(message)
        if self._seen:
            self._something.set()

    def _note(self, message: Message) -> None:
        if message.kind >> 8 == _NFTABLES:
            self._note_rules(message)
        elif message.kind in (rtnl.RTM_NEWLINK, rtnl.RTM_DELLINK):
            self._note_link(attributes(message.body, 16).get(3))
        elif message.kind in (rtnl.RTM_NEWADDR, rtnl.RTM_DELADDR, rtnl.RTM_DELQDISC, rtnl.RTM_DELTFILTER):
            self._seen.indices.add(_INDEX.unpack_from(message.body)[0])
        elif message.kind in (rtnl.RTM_NEWROUTE, rtnl.RTM_DELROUTE):
            self.route_changed.set()
        elif message.kind == rtnl.RTM_NEWNETCONF:
            self._note_forwarding(message)

    def _note_link(self, name: bytes | None) -> None:
        if name:
            self._seen.links.add(name.rstrip(b"\0").decode(errors="replace"))

    def _note_forwarding(self, message: Message) -> None:
        said = attributes(message.body, 4)
        if said.get(1) == _ALL_LINKS.to_bytes(4, "little") and 2 in said:
            self._seen.forwarding = True

    def _note_rules(self, message: Message) -> None:
        """A transaction is its changes and then the generation, which names the thread that made them."""
        if message.kind & 0xFF != _NEWGEN:
            self._table_touched = self._table_touched or _is_of_ours(message)
            return
        if self._table_touched and _maker(message) != self._own_maker:
            self._seen.table = True
        self._table_touched = False


def _is_of_ours(message: Message) -> bool:
    return message.body[0] in _FAMILIES and attributes(message.body, 4).get(1) == _TABLE


def _maker(message: Message) -> bytes | None:
    return attributes(message.body, 4).get(2)


def _who_am_i() -> bytes | None:
    """Return how the kernel names this thread as the maker of a transaction, whatever process namespace we are in.

    None where the kernel has no nftables.
    """
    with Netlink(_NETFILTER) as asking, suppress(OSError):
        return _maker(asking.get(Request(_NFTABLES << 8 | _GETGEN, bytes(4)))[0])
    return None


def _listen(protocol: int, *groups: int) -> socket.socket:
    found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    found.bind((0, 0))
    found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    for group in groups:
        found.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    return found
