"""Changes of set and map elements as nf_tables messages (linux/netfilter/nf_tables.h), in place of nft scripts.

Pure.  The types of keys and values are those of the table's text (:mod:`netd.kernel.firewall.nftables.table`), and the
elements are the texts of :mod:`netd.kernel.firewall.nftables.elements`, which are encoded here as libnftables encodes
them.  libnftables needs 0.5 ms for the script of a network, most of it to read the table again and to parse.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple, TypeAlias

from netd.kernel.firewall.nftables.elements import Element
from netd.kernel.firewall.nftables.table import TABLE, skeleton
from netd.kernel.netlink.messages import CREATE, NESTED, Request, attribute, nest, text

Bounds: TypeAlias = tuple[bytes, bytes]
"""The first and the last value of a field or key, which are equal except for ranges and subnets."""

SUBSYSTEM = 10
"""NFNL_SUBSYS_NFTABLES of linux/netfilter/nfnetlink.h."""
_NEW_ELEMENTS, _DELETE_ELEMENTS = SUBSYSTEM << 8 | 12, SUBSYSTEM << 8 | 14
_HEADER = struct.pack("=BBH", 1, 0, 0)
"""``struct nfgenmsg`` of the family inet."""
_ATTRIBUTE, _VALUE_INSIDE = struct.Struct("=HH"), struct.Struct("=HHHH")
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS, _LIST_ITEM = 1, 2, 3, 1
_KEY, _DATA, _FLAGS, _KEY_END = 1, 2, 3, 10
_VALUE, _VERDICT, _VERDICT_CODE, _VERDICT_CHAIN = 1, 2, 1, 2
_INTERVAL_END = attribute(_FLAGS, struct.pack(">I", 1))
_CODES = {"accept": 1, "drop": 0, "goto": -4, "jump": -3}
"""NF_ACCEPT and NF_DROP of linux/netfilter.h, NFT_GOTO and NFT_JUMP."""
_MAX_LIST = 32768
"""Bytes of elements in one message; an attribute holds at most 65,535."""
_DECLARED = re.compile(r"(?:set|map) (\w+) \{ type(?:of)? ([^;:]+?)(?: : ([^;]+))?;( flags interval;)? \}")
_TYPES_OF = {"fib saddr oifname": "ifname"}
"""The types of expressions that are given with ``typeof``."""
_FAMILIES = {"ipv4": bytes((2, 0, 0, 0)), "ipv6": bytes((10, 0, 0, 0))}
"""NFPROTO_IPV4 and NFPROTO_IPV6, as a field of a key."""
_PROTOCOLS = {"tcp": bytes((6, 0, 0, 0)), "udp": bytes((17, 0, 0, 0)), "sctp": bytes((132, 0, 0, 0))}


class SetType(NamedTuple):
    key: tuple[str, ...]
    """The types of the fields of a key."""
    value: tuple[str, ...]
    """The types of the fields of a value; none for a set."""
    interval: bool


@cache
def set_types() -> Mapping[str, SetType]:
    """Return the types of all sets and maps of the table, by name."""
    return {
        name: SetType(_fields(key), _fields(value), bool(interval))
        for name, key, value, interval in _DECLARED.findall(skeleton(respect=True))
    }


def _fields(declared: str) -> tuple[str, ...]:
    return tuple(_TYPES_OF.get(name, name) for name in declared.split(" . ")) if declared else ()


def requests(removed: Mapping[str, Iterable[Element]], added: Mapping[str, Iterable[Element]]) -> list[Request]:
    """Return the messages that delete the elements *removed* and then add the elements *added*, both by set or map."""
    deletions = (request for name, items in removed.items() for request in _requests(_DELETE_ELEMENTS, 0, name, items))
    additions = (request for name, items in added.items() for request in _requests(_NEW_ELEMENTS, CREATE, name, items))
    return [*deletions, *additions]


def _requests(kind: int, flags: int, name: str, items: Iterable[Element]) -> Iterator[Request]:
    head, declared = _head(name), set_types()[name]
    found, size = list[bytes](), 0
    for (_, key), value in items:
        encoded = _encoded(declared, key, value)
        if size + len(encoded) > _MAX_LIST:
            yield Request(kind, head + nest(_LIST_ELEMENTS, *found), flags)
            found, size = [], 0
        found.append(encoded)
        size += len(encoded)
    yield Request(kind, head + nest(_LIST_ELEMENTS, *found), flags)


@cache
def _head(name: str) -> bytes:
    return _HEADER + text(_LIST_TABLE, TABLE.partition(" ")[2]) + text(_LIST_SET, name)


def _encoded(declared: SetType, key: str, value: str) -> bytes:
    """Return an element; that of an interval set with keys of one field is a first element and one after the last."""
    first, last = _key(declared.key, key)
    data = _data(declared.value, value) if value else b""
    if not declared.interval:
        return _item(_wrapped(_KEY, first), data)
    if len(declared.key) > 1:
        return _item(_wrapped(_KEY, first), _wrapped(_KEY_END, last) + data)
    after = int.from_bytes(last, "big") + 1
    if after >> 8 * len(last):
        return _item(_wrapped(_KEY, first), data)
    end = after.to_bytes(len(last), "big")
    return _item(_wrapped(_KEY, first), data) + _item(_wrapped(_KEY, end), _INTERVAL_END)


def _item(key: bytes, rest: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(key) + len(rest), _LIST_ITEM | NESTED) + key + rest


def _wrapped(kind: int, value: bytes) -> bytes:
    """Return ``nest(kind, attribute(_VALUE, value))`` in a third of its time; the length is a multiple of four."""
    return _VALUE_INSIDE.pack(8 + len(value), kind | NESTED, 4 + len(value), _VALUE) + value


def _key(types: tuple[str, ...], key: str) -> Bounds:
    if len(types) == 1:
        return _BOUNDS[types[0]](key)
    bounds = [_BOUNDS[kind](field) for kind, field in zip(types, key.split(" . "), strict=True)]
    return b"".join([first for first, _ in bounds]), b"".join([last for _, last in bounds])


def _data(types: tuple[str, ...], value: str) -> bytes:
    return _verdict(value) if types == ("verdict",) else _wrapped(_DATA, _key(types, value)[0])


@cache
def _verdict(value: str) -> bytes:
    verb, _, chain = value.partition(" ")
    code = attribute(_VERDICT_CODE, struct.pack(">i", _CODES[verb]))
    return nest(_DATA, nest(_VERDICT, code, text(_VERDICT_CHAIN, chain) if chain else b""))


def _single(found: bytes) -> Bounds:
    return found, found


def _link(name: str) -> Bounds:
    return _single(name.strip('"').encode().ljust(16, b"\0"))


def _subnet(family: int) -> Callable[[str], Bounds]:
    def bounds(subnet: str) -> Bounds:
        address, _, length = subnet.partition("/")
        first = socket.inet_pton(family, address)
        if not length:
            return first, first
        hosts = (1 << 8 * len(first) - int(length)) - 1
        return first, (int.from_bytes(first, "big") | hosts).to_bytes(len(first), "big")

    return bounds


def _ports(span: str) -> Bounds:
    first, _, last = span.partition("-")
    return struct.pack(">Hxx", int(first)), struct.pack(">Hxx", int(last or first))


_BOUNDS: Mapping[str, Callable[[str], Bounds]] = {
    "ifname": _link,
    "nf_proto": lambda name: _single(_FAMILIES[name]),
    "inet_proto": lambda name: _single(_PROTOCOLS[name]),
    "inet_service": _ports,
    "ipv4_addr": _subnet(socket.AF_INET),
    "ipv6_addr": _subnet(socket.AF_INET6),
}
"""The encoding of each type as a field of a key; a key of a single field must have four bytes or more."""
