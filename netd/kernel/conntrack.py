"""Forgetting connections that the kernel still translates for containers and ports that are gone.

Owns a conntrack socket.  The kernel does the searching, so a busy host's table never travels here.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

from netd.kernel.netlink import Message, Netlink, Request, attribute, attributes, nest, u8, u32

_NETLINK_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)
# linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO, _SOURCE, _DESTINATION, _PROTO_NUM, _DST_PORT = 1, 2, 1, 2, 1, 3
_BY_SOURCE, _BY_DESTINATION, _BY_PROTOCOL, _BY_DST_PORT = 0x1, 0x2, 0x8, 0x20


class Conntrack:
    def __init__(self) -> None:
        self._netlink = Netlink(_NETLINK_NETFILTER)

    def close(self) -> None:
        self._netlink.close()

    def forget(self, addresses: Sequence[str], udp_ports: Sequence[int]) -> int:
        """Delete the entries that name the addresses, or that go to the udp ports; returns how many there were."""
        searches = [search for address in addresses for search in _naming(IPv4Address(address).packed)]
        searches += [_to_udp_port(port) for port in udp_ports]
        found = [entry for search in searches for entry in self._dump(search)]
        if found:
            self._netlink.talk(*map(_deletion, found))
        return len(found)

    def _dump(self, search: Request) -> list[Message]:
        try:
            return self._netlink.dump(search)
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL):
                return []  # no connection tracking here, so nothing to forget
            raise


def _naming(address: bytes) -> Iterator[Request]:
    """From the container, to it directly, and to it by way of a published port (then only the reply names it)."""
    yield _search(_TUPLE_ORIG, nest(_TUPLE_IP, attribute(_SOURCE, address)), _BY_SOURCE)
    yield _search(_TUPLE_ORIG, nest(_TUPLE_IP, attribute(_DESTINATION, address)), _BY_DESTINATION)
    yield _search(_TUPLE_REPLY, nest(_TUPLE_IP, attribute(_SOURCE, address)), _BY_SOURCE)


def _to_udp_port(port: int) -> Request:
    flow = nest(_TUPLE_PROTO, u8(_PROTO_NUM, socket.IPPROTO_UDP), attribute(_DST_PORT, struct.pack("!H", port)))
    return _search(_TUPLE_ORIG, flow, _BY_PROTOCOL | _BY_DST_PORT)


def _search(which: int, part: bytes, by: int) -> Request:
    # The kinds of the flags' attributes are those of the tuples: 1 original, 2 reply.
    return Request(_GET, _HEADER + nest(which, part) + nest(_FILTER, u32(which, by)))


def _deletion(entry: Message) -> Request:
    said = attributes(entry.body, len(_HEADER))
    key = nest(_TUPLE_ORIG, said[_TUPLE_ORIG]) + attribute(_ID, said[_ID])
    zone = attribute(_ZONE, said[_ZONE]) if _ZONE in said else b""
    return Request(_DELETE, _HEADER + key + zone, tolerate=(errno.ENOENT,))
