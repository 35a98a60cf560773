"""A socket for rtnetlink that also answers questions: links, addresses, routes.

It speaks for the network namespace of the thread that made it, wherever it is used.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from typing import Self

from netd.common.addresses import FAMILIES, Interface
from netd.kernel.netlink import rtnl, tc
from netd.kernel.netlink.messages import Netlink

_NAME_SIZE = 16
_SIOCGIFNAME, _SIOCGIFINDEX = 0x8910, 0x8933
_REQUEST = struct.Struct(f"{_NAME_SIZE}si20x")
"""struct ifreq of linux/if.h, with an index."""


class Rtnl(Netlink):
    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE)

    def __enter__(self) -> Self:
        return self

    def find(self, link: str | int) -> rtnl.Link | None:
        """Return a link by its name or index; 0 is the index of none."""
        if link == 0:
            return None
        try:
            return rtnl.read_link(self.get(rtnl.find_link(link))[0])
        except OSError as problem:
            if problem.errno != errno.ENODEV:
                raise
            return None

    def ends(self, link: str | int) -> tuple[int, int] | None:
        """Return the indices of a veth and of its other end: much faster than ``find``."""
        try:
            return rtnl.read_ends(self.get(rtnl.find_link(link))[0])
        except OSError as problem:
            if problem.errno != errno.ENODEV:
                raise
            return None

    def links(self) -> list[rtnl.Link]:
        """Return all links but those that are being removed."""
        found = (rtnl.read_link(one) for one in self.dump(rtnl.list_links()))
        return [link for link in found if link.group != rtnl.RETIRED_GROUP]

    def marks(self) -> dict[int, tuple[str, str]]:
        """Return the name and the alias of every link by its index: much faster than ``links``."""
        return {index: (name, alias) for index, name, alias in map(rtnl.read_name, self.dump(rtnl.list_links()))}

    def addresses(self) -> dict[int, list[Interface]]:
        """Return the addresses by their links' indices, but for those that IPv6 makes of itself on every link."""
        found: dict[int, list[Interface]] = {}
        for one in self.dump(rtnl.list_addresses()):
            index, address = rtnl.read_address(one)
            if address.version == 4 or not address.is_link_local:
                found.setdefault(index, []).append(address)
        return found

    def our_addresses(self, link: int) -> list[Interface]:
        """Return those that we set on a link that may be somebody else's."""
        found = [rtnl.read_address(one) for one in self.dump(rtnl.list_addresses()) if rtnl.is_our_address(one)]
        return [address for index, address in found if index == link]

    def routes(self, table: int = 0) -> list[rtnl.RtnlRoute]:
        """Return the routes of both families in one table, or in all."""
        return [rtnl.read_route(one) for family in FAMILIES for one in self.dump(rtnl.list_routes(family, table))]

    def program(self, link: int, where: int = tc.INGRESS) -> bytes:
        """Return the program that judges first what enters by a link, or leaves by it; b"" where none does."""
        try:
            found = map(tc.read_program, self.dump(tc.list_programs(link, where)))
        except OSError as problem:
            if problem.errno not in (errno.ENODEV, errno.EINVAL):
                raise
            return b""
        return next(filter(None, found), b"")


def index_of(name: str) -> int | None:
    """Return the index of a link of the calling thread's namespace, None when there is none.

    ``socket.if_nametoindex`` does not tell that from a lack of descriptors.
    """
    if len(field := name.encode()) >= _NAME_SIZE:
        return None
    answer = _ask(_SIOCGIFINDEX, _REQUEST.pack(field, 0))
    found: int | None = _REQUEST.unpack(answer)[1] if answer else None
    return found


def name_of(index: int) -> str:
    """Return the name of a link of the calling thread's namespace; "" when it is gone."""
    answer = _ask(_SIOCGIFNAME, _REQUEST.pack(b"", index))
    name: bytes = _REQUEST.unpack(answer)[0] if answer else b""
    return name.rstrip(b"\0").decode(errors="replace")


def _ask(what: int, request: bytes) -> bytes:
    """Return the answer to a request about a link, b"" when the link does not exist."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        try:
            return fcntl.ioctl(asking, what, request)
        except OSError as problem:
            if problem.errno not in (errno.ENODEV, errno.ENXIO):
                raise
            return b""
