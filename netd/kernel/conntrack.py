"""Deletion of conntrack entries that no longer agree with addresses and published ports.

Owns a conntrack socket; must not delete entries of connections that are not netd's.  The kernel walks its whole hash
table for each dump: 12 ms on a machine with 262,144 buckets, however few entries there are.  So a short table is read
in one dump per family.  For a long table the kernel filters dumps by IPv4 address or port, so that unrelated entries
are not copied to user space.  Every entry found is compared with the request again before it is deleted.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netd.common.addresses import FAMILIES, Address, Family
from netd.host_protocol import Flows
from netd.kernel import sysctl
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.messages import Message, Netlink, Request, attribute, attributes, nest, u8, u32
from netd.kernel.stray_connections import PROTOCOLS, StrayFilter
from netd.portmap.rules import Published, Ruleset

_NETLINK_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_HEADER = struct.Struct("=BBH")
_FAMILY_NUMBERS: dict[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
# linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _ID, _ZONE, _FILTER, _STATUS_MASK = 1, 2, 3, 12, 18, 25, 26
_TRANSLATED = 1 << 4 | 1 << 5
"""Bits of an entry's status: IPS_SRC_NAT and IPS_DST_NAT."""
_TUPLE_IP, _TUPLE_PROTO, _PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 1, 2, 3
_SOURCE: dict[Family, int] = {4: 1, 6: 3}
_DESTINATION: dict[Family, int] = {4: 2, 6: 4}
_SHORT_TABLE, _BATCH = 2000, 500
_MAX_PORT_DUMPS = 64
"""Longer ranges of ports are dumped by protocol alone: a filter names one port, and each dump walks the table."""
_BY_SOURCE, _BY_DESTINATION, _BY_PROTOCOL, _BY_DST_PORT = 0x1, 0x2, 0x8, 0x20


@dataclass(frozen=True, slots=True)
class _Connection:
    """A tracked connection: source, destination and port of the first packet, and the ends of the reply direction."""

    protocol: int
    source: Address
    destination: Address
    port: int
    reply_source: Address
    reply_port: int
    reply_destination: Address


class Conntrack:
    def __init__(self) -> None:
        self._netlink = Netlink(_NETLINK_NETFILTER)

    def close(self) -> None:
        self._netlink.close()

    def delete(self, flows: Flows) -> int:
        """Delete the entries that *flows* describes and return their number.  Call it in the host's namespace."""
        count = _count()
        if count == 0 or not flows:
            return 0
        host_addresses = _host_addresses() if flows.opened else frozenset[Address]()
        dumps = _whole_tables(flows) if count <= _SHORT_TABLE else _filtered_dumps(flows)
        found = [
            entry
            for dump in dumps
            for entry in self._netlink.dump(dump)
            if _is_described(_read(entry), flows, host_addresses)
        ]
        self._delete(found)
        return len(found)

    def delete_strays(self, rules: Ruleset) -> int:
        """Delete the entries that *rules* would not have admitted and return their number.

        Call it in the host's namespace, after rules that another program had flushed are restored.  Reads all entries
        without address translation; older kernels do not filter by status and send the others too.
        """
        if _count() == 0 or not rules.bridges:
            return 0
        strays = StrayFilter(rules, _host_addresses())
        found = [
            entry
            for dump in map(_untranslated, FAMILIES)
            for entry in self._netlink.dump(dump)
            if strays.include(_read(entry))
        ]
        self._delete(found)
        return len(found)

    def _delete(self, entries: list[Message]) -> None:
        for start in range(0, len(entries), _BATCH):
            self._netlink.talk(*map(_deletion, entries[start : start + _BATCH]))


def _count() -> int:
    """Return the number of connections that the host tracks; 0 if the kernel has no connection tracking."""
    return int(sysctl.read_optional("net/netfilter/nf_conntrack_count") or 0)


def _host_addresses() -> frozenset[Address]:
    with Netlink(socket.NETLINK_ROUTE) as netlink:
        return frozenset(rtnl.read_address(message)[1].ip for message in netlink.dump(rtnl.list_addresses()))


# Comparison of an entry with the request


def _is_described(entry: _Connection, flows: Flows, host_addresses: frozenset[Address]) -> bool:
    if not flows.addresses.isdisjoint((entry.source, entry.destination, entry.reply_source)):
        return True
    return any(_was_translated_by(entry, rule) for rule in flows.closed) or any(
        _reached_the_host(entry, rule, host_addresses) for rule in flows.opened
    )


def _was_translated_by(entry: _Connection, rule: Published) -> bool:
    return (
        _arrived_at(entry, rule)
        and entry.reply_source == rule.target
        and entry.destination != rule.target
        and entry.reply_port - rule.target_port == entry.port - rule.port
    )


def _reached_the_host(entry: _Connection, rule: Published, host_addresses: frozenset[Address]) -> bool:
    untranslated = (entry.reply_source, entry.reply_port) == (entry.destination, entry.port)
    to_host = entry.destination.is_loopback or entry.destination in host_addresses
    return _arrived_at(entry, rule) and untranslated and to_host


def _arrived_at(entry: _Connection, rule: Published) -> bool:
    return (
        entry.protocol == PROTOCOLS[rule.protocol]
        and rule.port <= entry.port < rule.port + rule.count
        and entry.destination.version == rule.address.version
        and (rule.address.is_unspecified or entry.destination == rule.address)
    )


# Requests


def _whole_tables(flows: Flows) -> Iterator[Request]:
    families = {address.version for address in flows.addresses}
    families |= {rule.address.version for rule in (*flows.closed, *flows.opened)}
    return (Request(_GET, _header(family)) for family in FAMILIES if family in families)


def _untranslated(family: Family) -> Request:
    by_status = attribute(_STATUS, bytes(4)) + attribute(_STATUS_MASK, struct.pack("!I", _TRANSLATED))
    return Request(_GET, _header(family) + by_status)


def _filtered_dumps(flows: Flows) -> Iterator[Request]:
    targets = {rule.target for rule in flows.closed}
    if any(address.version == 6 for address in (*flows.addresses, *targets)):
        # The kernel's filter by IPv6 address returns the entries of all other addresses.
        yield Request(_GET, _header(6))
    for address in flows.addresses:
        if address.version == 4:
            yield from _with_address(address)
    for target in targets:
        if target.version == 4:
            yield _filtered_dump(4, _TUPLE_REPLY, _ip(_SOURCE, target), _BY_SOURCE)
    for rule in flows.opened:
        yield from _to_port(rule)


def _with_address(address: Address) -> Iterator[Request]:
    """Yield requests for the entries from the address, to it, and to it by a published port (in the reply only)."""
    yield _filtered_dump(4, _TUPLE_ORIG, _ip(_SOURCE, address), _BY_SOURCE)
    yield _filtered_dump(4, _TUPLE_ORIG, _ip(_DESTINATION, address), _BY_DESTINATION)
    yield _filtered_dump(4, _TUPLE_REPLY, _ip(_SOURCE, address), _BY_SOURCE)


def _to_port(rule: Published) -> Iterator[Request]:
    protocol, family = u8(_PROTO_NUM, PROTOCOLS[rule.protocol]), rule.address.version
    if rule.count > _MAX_PORT_DUMPS:
        yield _filtered_dump(family, _TUPLE_ORIG, nest(_TUPLE_PROTO, protocol), _BY_PROTOCOL)
        return
    for port in range(rule.port, rule.port + rule.count):
        proto = nest(_TUPLE_PROTO, protocol, attribute(_DST_PORT, struct.pack("!H", port)))
        yield _filtered_dump(family, _TUPLE_ORIG, proto, _BY_PROTOCOL | _BY_DST_PORT)


def _ip(end: dict[Family, int], address: Address) -> bytes:
    return nest(_TUPLE_IP, attribute(end[address.version], address.packed))


def _filtered_dump(family: Family, direction: int, part: bytes, flags: int) -> Request:
    # CTA_FILTER_ORIG_FLAGS and CTA_FILTER_REPLY_FLAGS have the numbers of the tuples: 1 original, 2 reply.
    return Request(_GET, _header(family) + nest(direction, part) + nest(_FILTER, u32(direction, flags)))


def _header(family: Family) -> bytes:
    return _HEADER.pack(_FAMILY_NUMBERS[family], 0, 0)


def _read(message: Message) -> _Connection:
    family: Family = 4 if message.body[0] == socket.AF_INET else 6
    attrs = attributes(message.body, _HEADER.size)
    original, reply = attributes(attrs[_TUPLE_ORIG]), attributes(attrs[_TUPLE_REPLY])
    ip, reply_ip = attributes(original[_TUPLE_IP]), attributes(reply[_TUPLE_IP])
    proto, reply_proto = attributes(original[_TUPLE_PROTO]), attributes(reply[_TUPLE_PROTO])
    address = IPv4Address if family == 4 else IPv6Address
    return _Connection(
        protocol=proto[_PROTO_NUM][0],
        source=address(ip[_SOURCE[family]]),
        destination=address(ip[_DESTINATION[family]]),
        port=int.from_bytes(proto.get(_DST_PORT, b""), "big"),
        reply_source=address(reply_ip[_SOURCE[family]]),
        reply_port=int.from_bytes(reply_proto.get(_SRC_PORT, b""), "big"),
        reply_destination=address(reply_ip[_DESTINATION[family]]),
    )


def _deletion(entry: Message) -> Request:
    attrs = attributes(entry.body, _HEADER.size)
    key = nest(_TUPLE_ORIG, attrs[_TUPLE_ORIG]) + attribute(_ID, attrs[_ID])
    zone = attribute(_ZONE, attrs[_ZONE]) if _ZONE in attrs else b""
    return Request(_DELETE, entry.body[: _HEADER.size] + key + zone, tolerate=(errno.ENOENT,))
