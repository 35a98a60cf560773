"""Size of the conntrack table, and numbers of its entries by source.

Call the functions in the host's namespace; they change nothing.  Each dump has a socket of its own: the kernel builds a
dump as it is read, so closing the socket early saves the cost of the rest.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Collection, Container

from netd.common.addresses import Address
from netd.host_protocol import ConnectionCounts, ConnectionTable
from netd.kernel import sysctl
from netd.kernel.netlink.messages import attribute, nest, u32

_NETLINK_NETFILTER = 12
_GET, _DUMP = 0x101, 0x301
_REQUEST = struct.Struct("=IHHII")
_ERROR, _DONE = 2, 3
_FAMILY = struct.Struct("=BBH")
_HEAD = struct.Struct("=IH")
"""Length and type, the first fields of a message."""
# linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _FILTER, _TUPLE_IP, _BY_SOURCE = 1, 25, 1, 0x1
_SOURCE_IPV4 = 1
_SOURCE = 32
"""Offset of the source in a message: after the headers of netlink and netfilter and the heads of three nested
attributes, each the first of its nest."""
_LENGTHS: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
_FAMILY_OFFSET = 16
_RECEIVE = 1 << 15
"""The size limit of a datagram of a dump in the kernel."""


def table() -> ConnectionTable:
    entries = sysctl.read_optional("net/netfilter/nf_conntrack_count")
    maximum = sysctl.read_optional("net/netfilter/nf_conntrack_max")
    return ConnectionTable(int(entries or 0), int(maximum or 0))


def sample(entries: int) -> ConnectionCounts:
    began = time.thread_time()
    found = _dump(_FAMILY.pack(socket.AF_UNSPEC, 0, 0), entries)
    return ConnectionCounts(found, time.thread_time() - began)


def count(sources: Collection[Address], most: int) -> ConnectionCounts:
    began = time.thread_time()
    found: Counter[bytes] = Counter()
    wanted = {address.packed for address in sources}
    for request in {_of_source(address) for address in sources}:
        if found.total() < most:
            found.update(_dump(request, most - found.total(), wanted))
    return ConnectionCounts(found, time.thread_time() - began)


def _of_source(address: Address) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    everything = _FAMILY.pack(family, 0, 0)
    if address.version == 6:
        return everything  # The kernel's filter returns the entries of all other IPv6 addresses instead.
    source = nest(_TUPLE_IP, attribute(_SOURCE_IPV4, address.packed))
    return everything + nest(_TUPLE_ORIG, source) + nest(_FILTER, u32(_TUPLE_ORIG, _BY_SOURCE))


def _dump(body: bytes, most: int, wanted: Container[bytes] | None = None) -> Counter[bytes]:
    """Count entries by source until at least *most* are found or the dump ends.

    Counts only the *wanted* sources if given, because the kernel's filter may pass others.
    """
    found: Counter[bytes] = Counter()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as dump:
        dump.bind((0, 0))
        dump.send(_REQUEST.pack(_REQUEST.size + len(body), _GET, _DUMP, 1, 0) + body)
        buffer = bytearray(_RECEIVE)
        ended = False
        while found.total() < most and not ended:
            sources, ended = _sources(buffer, dump.recv_into(buffer))
            found.update(sources if wanted is None else [source for source in sources if source in wanted])
    return found


def _sources(data: bytearray, size: int) -> tuple[list[bytes], bool]:
    """Return the sources in a datagram of a dump, and whether it is the last."""
    found: list[bytes] = []
    start = 0
    while start < size:
        length, kind = _HEAD.unpack_from(data, start)
        if kind in (_ERROR, _DONE):
            if kind == _ERROR:
                (code,) = struct.unpack_from("=i", data, start + 16)
                raise OSError(-code, os.strerror(-code))
            return found, True
        end = start + _SOURCE + _LENGTHS[data[start + _FAMILY_OFFSET]]
        found.append(bytes(data[start + _SOURCE : end]))
        start += (length + 3) & ~3
    return found, False
