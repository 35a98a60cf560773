"""A socket for rtnetlink, with reads of links, addresses and routes.

Bound to the network namespace of the thread that creates it, whatever thread uses it.  Must not decide what to change.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from typing import Self

from netd.common.addresses import Interface
from netd.kernel.netlink import neighbours, rtnl, tc
from netd.kernel.netlink.messages import Message, Netlink, Request
from netd.kernel.netlink.neighbours import Neighbour

_NAME_SIZE = 16
_RETIRED = (rtnl.RETIRED_GROUP, rtnl.RETIRED_BRIDGES)
_SIOCGIFNAME, _SIOCGIFINDEX = 0x8910, 0x8933
_REQUEST = struct.Struct(f"{_NAME_SIZE}si20x")
"""``struct ifreq`` of linux/if.h with an index."""


class Rtnl(Netlink):
    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE)

    def __enter__(self) -> Self:
        return self

    def find(self, link: str | int) -> rtnl.Link | None:
        """Return a link by its name or index, None if it does not exist; no link has index 0."""
        if link == 0:
            return None
        try:
            return rtnl.read_link(self.get(rtnl.find_link(link))[0])
        except OSError as problem:
            if problem.errno != errno.ENODEV:
                raise
            return None

    def ends(self, link: str | int) -> tuple[int, int] | None:
        """Return the indices of a veth and of its peer: much faster than ``find``."""
        try:
            return rtnl.read_ends(self.get(rtnl.find_link(link))[0])
        except OSError as problem:
            if problem.errno != errno.ENODEV:
                raise
            return None

    def links(self) -> list[rtnl.Link]:
        """Return all links except retired ones."""
        found = (rtnl.read_link(message) for message in self.dump(rtnl.list_links()))
        return [link for link in found if link.group not in _RETIRED]

    def names_and_aliases(self) -> dict[int, tuple[str, str]]:
        """Return name and ifalias of every link by its index: much faster than ``links``."""
        return {index: (name, alias) for index, name, alias in map(rtnl.read_name, self.dump(rtnl.list_links()))}

    def bridges(self) -> list[rtnl.Link]:
        """Return all bridges except retired ones."""
        found = (rtnl.read_link(message) for message in self.dump(rtnl.list_bridges()))
        return [link for link in found if link.kind == "bridge" and link.group not in _RETIRED]

    def addresses(self, link: int = 0) -> dict[int, list[Interface]]:
        """Return the addresses of one link, or with 0 of all links, by the index of their link.

        IPv6 link-local addresses are included only if netd assigned them, from a network's subnet.
        """
        found: dict[int, list[Interface]] = {}
        for message in self._of_link(rtnl.list_addresses(link)):
            index, address = rtnl.read_address(message)
            if address.version == 4 or not address.is_link_local or rtnl.is_own_address(message):
                found.setdefault(index, []).append(address)
        return found

    def _of_link(self, request: Request) -> list[Message]:
        """Return the reply to a dump request about one link; nothing if the link does not exist."""
        try:
            return self.dump(request)
        except OSError as problem:
            if problem.errno not in (errno.ENODEV, errno.ESRCH):
                raise
            return []

    def own_addresses(self, link: int) -> list[Interface]:
        """Return the addresses that netd set on a link, which may be foreign."""
        messages = self._of_link(rtnl.list_addresses(link))
        found = [rtnl.read_address(message) for message in messages if rtnl.is_own_address(message)]
        return [address for index, address in found if index == link]

    def routes(self, table: int = 0, link: int = 0) -> list[rtnl.RtnlRoute]:
        """Return the routes of both families in one table and by one link; 0 means all."""
        found = self._of_link(rtnl.list_routes(table, link))
        return [rtnl.read_route(message) for message in found if rtnl.is_route(message)]

    def permanent_neighbours(self) -> list[Neighbour]:
        """Return the neighbour entries that programs set, of all links."""
        found = self.dump(neighbours.list_neighbours())
        return [neighbours.read_neighbour(message) for message in found if neighbours.is_permanent(message)]

    def programs(self, link: int, direction: int = tc.INGRESS) -> tc.Programs:
        """Return the BPF programs on a link's ingress or egress."""
        return tc.read_programs(self.filters(link, direction))

    def filters(self, link: int, direction: int = tc.INGRESS) -> list[Message]:
        """Return the filters (tc(8)) on a link's ingress or egress."""
        try:
            return self.dump(tc.list_programs(link, direction))
        except OSError as problem:
            if problem.errno not in (errno.ENODEV, errno.EINVAL):
                raise
            return []


def index_of(name: str) -> int | None:
    """Return the index of a link of the calling thread's namespace, None if it does not exist.

    ``socket.if_nametoindex`` raises the same error for an absent link and for a lack of descriptors.
    """
    if len(field := name.encode()) >= _NAME_SIZE:
        return None
    reply = _ioctl(_SIOCGIFINDEX, _REQUEST.pack(field, 0))
    found: int | None = _REQUEST.unpack(reply)[1] if reply else None
    return found


def name_of(index: int) -> str:
    """Return the name of a link of the calling thread's namespace; "" if it does not exist."""
    reply = _ioctl(_SIOCGIFNAME, _REQUEST.pack(b"", index))
    name: bytes = _REQUEST.unpack(reply)[0] if reply else b""
    return name.rstrip(b"\0").decode(errors="replace")


def _ioctl(number: int, request: bytes) -> bytes:
    """Return the reply to a request about a link, b"" if the link does not exist."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            return fcntl.ioctl(sock, number, request)
        except OSError as problem:
            if problem.errno not in (errno.ENODEV, errno.ENXIO):
                raise
            return b""
