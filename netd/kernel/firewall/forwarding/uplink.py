"""The link by which the host sends packets to an address."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from netd.common.addresses import Address
from netd.kernel.netlink.messages import Netlink, Request, attribute
from netd.kernel.netlink.pyroute2_parts import rtmsg, rtnl
from netd.kernel.netlink.rtnl_socket import name_of

_DESTINATION = 1
"""RTA_DST of linux/rtnetlink.h."""


def uplink(address: Address) -> str:
    """Return the name of the link of the route to *address*; "" without a route."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    header = struct.pack("=BBBBBBBBI", family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    with suppress(OSError), Netlink(socket.NETLINK_ROUTE) as netlink:
        found = netlink.get(Request(rtnl.RTM_GETROUTE, header + attribute(_DESTINATION, address.packed)))
        if found:
            route = rtmsg(found[0].data)
            route.decode()
            return name_of(route.get_attr("RTA_OIF") or 0)
    return ""
