"""Parsing of addresses and prefixes; errors begin as those of Docker and name the remedy."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import NoReturn

from netd.common.addresses import Address, Interface
from netd.common.errors import BadRequest

_MAPPED = 96
"""Bits before the IPv4 address in an IPv4-mapped IPv6 address."""


def read_address(text: str) -> Address | None:
    """Return the address; None for an empty text.  IPv4-mapped addresses become IPv4.  Raises BadRequest."""
    if not text:
        return None
    try:
        found = ip_address(text)
    except ValueError:
        raise BadRequest(f"invalid IP address: {text}; write one like 172.18.0.1 or fd00::1") from None
    return _unmapped(found)


def read_prefix(text: str) -> Interface | None:
    """Return an address with its prefix length, host bits included; None for an empty text.  Raises BadRequest."""
    if not text:
        return None
    head, slash, bits = text.partition("/")
    if not slash:
        _refuse_prefix(text, "the prefix length is missing")
    try:
        address = ip_address(head)
    except ValueError:
        _refuse_prefix(text, f"{head!r} is not an IP address")
    if not (bits.isascii() and bits.isdigit()) or (len(bits) > 1 and bits.startswith("0")):
        _refuse_prefix(text, f"{bits!r} is not a prefix length")
    if int(bits) > address.max_prefixlen:
        _refuse_prefix(text, f"an IPv{address.version} prefix length is at most {address.max_prefixlen}")
    plain = _unmapped(address) if int(bits) >= _MAPPED else address
    length = int(bits) - (_MAPPED if plain.version != address.version else 0)
    return ip_interface((plain, length))


def _unmapped(address: IPv4Address | IPv6Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _refuse_prefix(text: str, reason: str) -> NoReturn:
    raise BadRequest(f"invalid CIDR address: {text} ({reason}); write a subnet like 172.18.0.0/16 or fd00:1::/64")
