"""What legacy tables there are and how large they are, asked of the kernel without python-iptables.

Asking makes no table that is not there.
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
"""Rules and bytes."""

_NAMES: dict[Family, str] = {4: "ip_tables_names", 6: "ip6_tables_names"}
_LEVELS: dict[Family, tuple[int, int]] = {4: (socket.AF_INET, 0), 6: (socket.AF_INET6, 41)}
_GET_INFO, _GET_ENTRIES = 64, 65
_INFO = struct.Struct("=32s11I2I")
"""``struct ipt_getinfo``: name, hooks, the places of five chains and of their policies, rules, bytes."""
_HEAD = struct.Struct("=32sI4x")
_libc = ctypes.CDLL(None, use_errno=True)


def existing(family: Family) -> list[str]:
    """Return the tables that there are in the calling thread's namespace."""
    path = Path("/proc/thread-self/net") / _NAMES[family]
    return path.read_text().split() if path.exists() else []


def size(family: Family, table: str) -> Size:
    """Return how many rules the table has, those that end chains among them, and how many bytes they take."""
    found = _ask(family, _GET_INFO, bytearray(_INFO.pack(table.encode(), *bytes(13))))
    *_, entries, octets = _INFO.unpack(found)
    return entries, octets


def with_chain_prefix(family: Family, word: bytes) -> list[str]:
    """Return the tables in which *word* is the beginning of a chain's name."""
    return [table for table in existing(family) if word in _entries(family, table)]


def _entries(family: Family, table: str) -> bytes:
    _, octets = size(family, table)
    return _ask(family, _GET_ENTRIES, bytearray(_HEAD.pack(table.encode(), octets)) + bytearray(octets))


def _ask(family: Family, question: int, words: bytearray) -> bytes:
    domain, level = _LEVELS[family]
    length = ctypes.c_uint32(len(words))
    buffer = (ctypes.c_char * len(words)).from_buffer(words)
    with socket.socket(domain, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as asking:
        if _libc.getsockopt(asking.fileno(), level, question, buffer, ctypes.byref(length)):
            number = ctypes.get_errno()
            raise OSError(number, f"reading the legacy tables: {os.strerror(number)}")
    return bytes(words)
