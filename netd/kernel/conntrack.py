"""Forgetting connections that the kernel still translates as it was right before.

Owns a conntrack socket.  A search walks the kernel's whole hash table, 12 ms on a machine with 262,144 buckets
however few entries it has, so a short table is read in one walk for each family, and of a long one the kernel itself
searches out what may be wanted: a busy host's table never travels here.  What is found is looked at once more before
it is deleted, so that nobody else's connection goes.
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
from netd.kernel.stray_connections import PROTOCOLS, Strays
from netd.portmap.rules import Published, Ruleset

_NETLINK_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_HEADER = struct.Struct("=BBH")
_FAMILY_NUMBERS: dict[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
# linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _ID, _ZONE, _FILTER, _STATUS_MASK = 1, 2, 3, 12, 18, 25, 26
_TRANSLATED = 1 << 4 | 1 << 5
"""Bits of an entry's status: by its source, by its destination."""
_TUPLE_IP, _TUPLE_PROTO, _PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 1, 2, 3
_SOURCE: dict[Family, int] = {4: 1, 6: 3}
_DESTINATION: dict[Family, int] = {4: 2, 6: 4}
_SHORT, _BATCH = 2000, 500
_WALKS = 64
"""Longer runs of ports are not searched for one by one: each takes a walk."""
_BY_SOURCE, _BY_DESTINATION, _BY_PROTOCOL, _BY_DST_PORT = 0x1, 0x2, 0x8, 0x20


@dataclass(frozen=True, slots=True)
class _Connection:
    """A tracked connection: where it was going, and who answers."""

    protocol: int
    source: Address
    destination: Address
    port: int
    answers: Address
    answering_port: int
    answers_to: Address


class Conntrack:
    def __init__(self) -> None:
        self._netlink = Netlink(_NETLINK_NETFILTER)

    def close(self) -> None:
        self._netlink.close()

    def forget(self, flows: Flows) -> int:
        """Delete the entries that *flows* describes; returns how many there were.

        To be called in the host's namespace.
        """
        held = _count()
        if held == 0 or not flows:
            return 0
        ours = _own_addresses() if flows.opened else frozenset[Address]()
        searches = _everything(flows) if held <= _SHORT else _searches(flows)
        found = [one for search in searches for one in self._netlink.dump(search) if _is_meant(_read(one), flows, ours)]
        self._delete(found)
        return len(found)

    def delete_stray_connections(self, rules: Ruleset) -> int:
        """Delete the entries that *rules* would not have admitted; returns how many there were.

        To be called in the host's namespace, after rules that others had flushed hold again.  Reads all entries that
        are not translated; older kernels send the others too.
        """
        if _count() == 0 or not rules.bridges:
            return 0
        strays = Strays(rules, _own_addresses())
        found = [
            one
            for search in map(_untranslated, FAMILIES)
            for one in self._netlink.dump(search)
            if strays.include(_read(one))
        ]
        self._delete(found)
        return len(found)

    def _delete(self, entries: list[Message]) -> None:
        for start in range(0, len(entries), _BATCH):
            self._netlink.talk(*map(_deletion, entries[start : start + _BATCH]))


def _count() -> int:
    """Return how many connections the host tracks; none where the kernel does not track."""
    return int(sysctl.read_optional("net/netfilter/nf_conntrack_count") or 0)


def _own_addresses() -> frozenset[Address]:
    with Netlink(socket.NETLINK_ROUTE) as asking:
        return frozenset(rtnl.read_address(one)[1].ip for one in asking.dump(rtnl.list_addresses()))


# What is meant


def _is_meant(entry: _Connection, flows: Flows, ours: frozenset[Address]) -> bool:
    if not flows.addresses.isdisjoint((entry.source, entry.destination, entry.answers)):
        return True
    return any(_was_led(entry, one) for one in flows.closed) or any(
        _went_to_the_host(entry, one, ours) for one in flows.opened
    )


def _was_led(entry: _Connection, rule: Published) -> bool:
    return (
        _comes_to(entry, rule)
        and entry.answers == rule.target
        and entry.destination != rule.target
        and entry.answering_port - rule.target_port == entry.port - rule.port
    )


def _went_to_the_host(entry: _Connection, rule: Published, ours: frozenset[Address]) -> bool:
    untranslated = (entry.answers, entry.answering_port) == (entry.destination, entry.port)
    return _comes_to(entry, rule) and untranslated and (entry.destination.is_loopback or entry.destination in ours)


def _comes_to(entry: _Connection, rule: Published) -> bool:
    return (
        entry.protocol == PROTOCOLS[rule.protocol]
        and rule.port <= entry.port < rule.port + rule.count
        and entry.destination.version == rule.address.version
        and (rule.address.is_unspecified or entry.destination == rule.address)
    )


# What the kernel is asked


def _everything(flows: Flows) -> Iterator[Request]:
    named = {one.version for one in flows.addresses}
    named |= {one.address.version for one in (*flows.closed, *flows.opened)}
    return (Request(_GET, _header(family)) for family in FAMILIES if family in named)


def _untranslated(family: Family) -> Request:
    by_status = attribute(_STATUS, bytes(4)) + attribute(_STATUS_MASK, struct.pack("!I", _TRANSLATED))
    return Request(_GET, _header(family) + by_status)


def _searches(flows: Flows) -> Iterator[Request]:
    for address in flows.addresses:
        yield from _naming(address)
    for target in {one.target for one in flows.closed}:
        yield _search(target.version, _TUPLE_REPLY, _ip(_SOURCE, target), _BY_SOURCE)
    for rule in flows.opened:
        yield from _coming_to(rule)


def _naming(address: Address) -> Iterator[Request]:
    """From the container, to it directly, and to it by way of a published port (then only the reply names it)."""
    family = address.version
    yield _search(family, _TUPLE_ORIG, _ip(_SOURCE, address), _BY_SOURCE)
    yield _search(family, _TUPLE_ORIG, _ip(_DESTINATION, address), _BY_DESTINATION)
    yield _search(family, _TUPLE_REPLY, _ip(_SOURCE, address), _BY_SOURCE)


def _coming_to(rule: Published) -> Iterator[Request]:
    protocol, family = u8(_PROTO_NUM, PROTOCOLS[rule.protocol]), rule.address.version
    if rule.count > _WALKS:
        yield _search(family, _TUPLE_ORIG, nest(_TUPLE_PROTO, protocol), _BY_PROTOCOL)
        return
    for port in range(rule.port, rule.port + rule.count):
        flow = nest(_TUPLE_PROTO, protocol, attribute(_DST_PORT, struct.pack("!H", port)))
        yield _search(family, _TUPLE_ORIG, flow, _BY_PROTOCOL | _BY_DST_PORT)


def _ip(which: dict[Family, int], address: Address) -> bytes:
    return nest(_TUPLE_IP, attribute(which[address.version], address.packed))


def _search(family: Family, which: int, part: bytes, by: int) -> Request:
    # The kinds of the flags' attributes are those of the tuples: 1 original, 2 reply.
    return Request(_GET, _header(family) + nest(which, part) + nest(_FILTER, u32(which, by)))


def _header(family: Family) -> bytes:
    return _HEADER.pack(_FAMILY_NUMBERS[family], 0, 0)


def _read(message: Message) -> _Connection:
    family: Family = 4 if message.body[0] == socket.AF_INET else 6
    said = attributes(message.body, _HEADER.size)
    original, reply = attributes(said[_TUPLE_ORIG]), attributes(said[_TUPLE_REPLY])
    there, back = attributes(original[_TUPLE_IP]), attributes(reply[_TUPLE_IP])
    flow, answer = attributes(original[_TUPLE_PROTO]), attributes(reply[_TUPLE_PROTO])
    kind = IPv4Address if family == 4 else IPv6Address
    return _Connection(
        protocol=flow[_PROTO_NUM][0],
        source=kind(there[_SOURCE[family]]),
        destination=kind(there[_DESTINATION[family]]),
        port=int.from_bytes(flow.get(_DST_PORT, b""), "big"),
        answers=kind(back[_SOURCE[family]]),
        answering_port=int.from_bytes(answer.get(_SRC_PORT, b""), "big"),
        answers_to=kind(back[_DESTINATION[family]]),
    )


def _deletion(entry: Message) -> Request:
    said = attributes(entry.body, _HEADER.size)
    key = nest(_TUPLE_ORIG, said[_TUPLE_ORIG]) + attribute(_ID, said[_ID])
    zone = attribute(_ZONE, said[_ZONE]) if _ZONE in said else b""
    return Request(_DELETE, entry.body[: _HEADER.size] + key + zone, tolerate=(errno.ENOENT,))
