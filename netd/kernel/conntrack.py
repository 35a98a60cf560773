"""Forgetting connections that the kernel still translates for containers and ports that are gone.

Owns a conntrack socket.  A search walks the kernel's whole hash table, 12 ms on a machine with 262,144 buckets
however few entries it has, so a short table is read in one walk, and of a long one the kernel itself
searches out what is wanted: a busy host's table never travels here.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

from netd.kernel import sysctl
from netd.kernel.netlink import Message, Netlink, Request, attribute, attributes, nest, u8, u32

_NETLINK_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)
# linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO, _SOURCE, _DESTINATION, _PROTO_NUM, _DST_PORT = 1, 2, 1, 2, 1, 3
_SHORT, _BATCH = 2000, 500
_BY_SOURCE, _BY_DESTINATION, _BY_PROTOCOL, _BY_DST_PORT = 0x1, 0x2, 0x8, 0x20


class Conntrack:
    def __init__(self) -> None:
        self._netlink = Netlink(_NETLINK_NETFILTER)

    def close(self) -> None:
        self._netlink.close()

    def forget(self, addresses: Sequence[str], udp_ports: Sequence[int]) -> int:
        """Delete the entries that name the addresses, or that go to the udp ports; returns how many there were.

        To be called in the host's namespace.
        """
        packed = [IPv4Address(address).packed for address in addresses]
        held = _count()
        if held == 0:
            return 0
        if held <= _SHORT:
            found = [entry for entry in self._netlink.dump(_everything()) if _is_named(entry, packed, udp_ports)]
        else:
            searches = [*(one for address in packed for one in _naming(address)), *map(_to_udp_port, udp_ports)]
            found = [entry for search in searches for entry in self._netlink.dump(search)]
        for start in range(0, len(found), _BATCH):
            self._netlink.talk(*map(_deletion, found[start : start + _BATCH]))
        return len(found)


def _count() -> int:
    """Return how many connections the host tracks; none where the kernel does not track."""
    return int(sysctl.read_optional("net/netfilter/nf_conntrack_count") or 0)


def _everything() -> Request:
    return Request(_GET, _HEADER)


def _is_named(entry: Message, addresses: Sequence[bytes], udp_ports: Sequence[int]) -> bool:
    said = attributes(entry.body, len(_HEADER))
    original, reply = attributes(said[_TUPLE_ORIG]), attributes(said[_TUPLE_REPLY])
    there, back = attributes(original[_TUPLE_IP]), attributes(reply[_TUPLE_IP])
    if {there.get(_SOURCE), there.get(_DESTINATION), back.get(_SOURCE)} & set(addresses):
        return True
    flow = attributes(original[_TUPLE_PROTO])
    port = int.from_bytes(flow.get(_DST_PORT, b""), "big")
    return flow.get(_PROTO_NUM) == bytes((socket.IPPROTO_UDP,)) and port in udp_ports


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
