"""Parsing and generation of MAC addresses."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

_MAC = re.compile(r"([0-9a-fA-F]{2})([:-][0-9a-fA-F]{2}){5}\Z")


def normalize(text: str) -> str:
    """Return a unicast MAC address in the kernel's notation; "" if *text* is not a unicast MAC address."""
    if not _MAC.match(text) or int(text[:2], 16) & 1:
        return ""
    return text.lower().replace("-", ":")


def generate(tail: bytes) -> str:
    """Return 02:42 followed by the four bytes *tail*; earlier Docker versions used the IPv4 address as *tail*."""
    return "02:42:" + tail.hex(":")


def link_local(mac: str) -> IPv6Address:
    """Return the link-local address that the kernel generates for an interface with this MAC (EUI-64)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes((raw[0] ^ 2,)) + raw[1:3] + b"\xff\xfe" + raw[3:])
