"""Names, sizes and chains of the legacy tables, read from the kernel without python-iptables.

Changes nothing: reading does not create absent tables.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path
from typing import TypeAlias

from netd.common.addresses import Family

Size: TypeAlias = tuple[int, int]
"""Number of entries and of bytes."""

_NAMES: dict[Family, str] = {4: "ip_tables_names", 6: "ip6_tables_names"}
_LEVELS: dict[Family, tuple[int, int]] = {4: (socket.AF_INET, 0), 6: (socket.AF_INET6, 41)}
_GET_INFO, _GET_ENTRIES = 64, 65
_INFO = struct.Struct("=32s11I2I")
"""``struct ipt_getinfo``: name, hooks, offsets of five chains and of their policies, entries, bytes."""
_HEAD = struct.Struct("=32sI4x")
_libc = ctypes.CDLL(None, use_errno=True)


def existing(family: Family) -> list[str]:
    """Return the names of the tables that exist in the calling thread's namespace."""
    path = Path("/proc/thread-self/net") / _NAMES[family]
    return path.read_text().split() if path.exists() else []


def size(family: Family, table: str) -> Size:
    """Return the number of entries of the table, those that end chains included, and their size in bytes."""
    info = _getsockopt(family, _GET_INFO, bytearray(_INFO.pack(table.encode(), *bytes(13))))
    *_, entries, octets = _INFO.unpack(info)
    return entries, octets


def with_chain_prefix(family: Family, prefix: bytes) -> list[str]:
    """Return the tables that have a chain whose name begins with *prefix*."""
    return [table for table in existing(family) if prefix in _entries(family, table)]


def _entries(family: Family, table: str) -> bytes:
    _, octets = size(family, table)
    return _getsockopt(family, _GET_ENTRIES, bytearray(_HEAD.pack(table.encode(), octets)) + bytearray(octets))


def _getsockopt(family: Family, option: int, value: bytearray) -> bytes:
    domain, level = _LEVELS[family]
    length = ctypes.c_uint32(len(value))
    buffer = (ctypes.c_char * len(value)).from_buffer(value)
    with socket.socket(domain, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as sock:
        if _libc.getsockopt(sock.fileno(), level, option, buffer, ctypes.byref(length)):
            number = ctypes.get_errno()
            raise OSError(number, f"legacy tables cannot be read: {os.strerror(number)}")
    return bytes(value)
