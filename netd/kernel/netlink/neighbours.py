"""Permanent entries of the neighbour tables: requests and replies.

Pure: builds requests and decodes replies; sends nothing.  The kernel's own entries change all the time and are left
out: only permanent ones, which programs set, can contradict a container's MAC for good.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from ipaddress import ip_address

from netd.common.addresses import Address
from netd.kernel.netlink.messages import Message, Request, attribute, attributes
from netd.kernel.netlink.pyroute2_parts import ndmsg, rtnl

_HEADER = struct.Struct("=BxxxiHBB")
_DESTINATION = 1
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_AF_INET, _AF_INET6 = 2, 10
_FAMILIES = {4: _AF_INET, 6: _AF_INET6}


@dataclass(frozen=True, slots=True)
class Neighbour:
    link: int
    address: Address
    mac: str


def list_neighbours() -> Request:
    return Request(rtnl.RTM_GETNEIGH, _HEADER.pack(0, 0, 0, 0, 0))


def delete_neighbour(found: Neighbour) -> Request:
    header = _HEADER.pack(_FAMILIES[found.address.version], found.link, 0, 0, 0)
    return Request(
        rtnl.RTM_DELNEIGH, header + attribute(_DESTINATION, found.address.packed), tolerate=(errno.ENOENT, errno.ENODEV)
    )


def is_permanent(message: Message) -> bool:
    """Return whether a message is about an entry that a program set: the kernel sets NOARP for multicast only."""
    family, _, state, _, _ = _HEADER.unpack_from(message.body)
    if family not in (_AF_INET, _AF_INET6) or not state & (_NUD_PERMANENT | _NUD_NOARP):
        return False
    destination = attributes(message.body, _HEADER.size).get(_DESTINATION, b"")
    return bool(destination) and not _is_multicast(destination)


def _is_multicast(address: bytes) -> bool:
    return address[0] == 0xFF if len(address) == 16 else address[0] >= 224


def link_of(message: Message) -> int:
    index: int = _HEADER.unpack_from(message.body)[1]
    return index


def read_neighbour(message: Message) -> Neighbour:
    decoded = ndmsg(message.data)
    decoded.decode()
    return Neighbour(decoded["ifindex"], ip_address(decoded.get_attr("NDA_DST")), decoded.get_attr("NDA_LLADDR") or "")
