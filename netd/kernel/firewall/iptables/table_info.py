"""Names, sizes and chains of the legacy tables, read from the kernel without python-iptables.

Changes nothing: reading does not create absent tables.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple, TypeAlias

from netd.common.addresses import Family

Size: TypeAlias = tuple[int, int]
"""Number of entries and of bytes."""


class Info(NamedTuple):
    """Positions of the built-in chains of a table."""

    size: Size
    builtin: tuple[int, ...]
    """The numbers of the hooks that the table has a built-in chain for."""
    hooks: tuple[int, ...]
    """The offset of the first entry of the built-in chain of each hook."""
    underflows: tuple[int, ...]
    """The offset of its policy, which is its last entry."""


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
    return _info(family, table).size


def contents(family: Family, table: str) -> tuple[Info, bytes]:
    """Return the positions of the built-in chains and the bytes of all entries.

    Raises OSError, with EAGAIN if the table's size changed between the two system calls, and ENOENT without the table.
    """
    info = _info(family, table)
    return info, _entries(family, table, info.size[1])


def with_chain_prefix(family: Family, prefix: bytes) -> list[str]:
    """Return the tables that have a chain whose name begins with *prefix*."""
    return [table for table in existing(family) if prefix in contents(family, table)[1]]


def _info(family: Family, table: str) -> Info:
    found = _INFO.unpack(_getsockopt(family, _GET_INFO, bytearray(_INFO.pack(table.encode(), *bytes(13)))))
    valid, hooks, underflows = found[1], found[2:7], found[7:12]
    return Info((found[12], found[13]), tuple(n for n in range(5) if valid & 1 << n), hooks, underflows)


def _entries(family: Family, table: str, octets: int) -> bytes:
    head = _HEAD.pack(table.encode(), octets)
    return _getsockopt(family, _GET_ENTRIES, bytearray(head) + bytearray(octets))[_HEAD.size :]


def _getsockopt(family: Family, option: int, value: bytearray) -> bytes:
    domain, level = _LEVELS[family]
    length = ctypes.c_uint32(len(value))
    buffer = (ctypes.c_char * len(value)).from_buffer(value)
    with socket.socket(domain, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as sock:
        if _libc.getsockopt(sock.fileno(), level, option, buffer, ctypes.byref(length)):
            number = ctypes.get_errno()
            raise OSError(number, f"legacy tables cannot be read: {os.strerror(number)}")
    return bytes(value)
