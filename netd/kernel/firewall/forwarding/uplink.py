"""The link by which the host sends packets to an address."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from pyroute2.netlink import rtnl

from netd.common.addresses import Address
from netd.kernel.netlink.messages import Netlink, Request, attribute, attributes
from netd.kernel.netlink.rtnl_socket import name_of

_DESTINATION, _LINK = 1, 4
"""RTA_DST and RTA_OIF of linux/rtnetlink.h."""


def uplink(address: Address) -> str:
    """Return the name of the link of the route to *address*; "" without a route."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    header = struct.pack("=BBBBBBBBI", family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    with suppress(OSError), Netlink(socket.NETLINK_ROUTE) as netlink:
        found = netlink.get(Request(rtnl.RTM_GETROUTE, header + attribute(_DESTINATION, address.packed)))
        index = attributes(found[0].body, 12).get(_LINK) if found else None
        return (name_of(int.from_bytes(index, "little")) or "") if index else ""
    return ""
