"""Sockets that receive the kernel's notifications.

Owns nothing: the caller closes the sockets.
"""

from __future__ import annotations

import ctypes
import socket
import struct

_SOL_NETLINK, _ADD_MEMBERSHIP, _SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 270, 1, 33, 26
_BUFFER = 8 << 20
_INSTRUCTION = struct.Struct("=HBBI")
# linux/bpf_common.h
_LOAD_HALF, _LOAD_BYTE, _EQUAL, _ANY_BIT, _RETURN = 0x28, 0x30, 0x15, 0x45, 0x06
_KIND_AT, _FAMILY_AT, _STATE_AT = 4, 16, 24
_NEW_NEIGHBOUR, _BRIDGE_FAMILY, _SET_BY_PROGRAMS = 28, 7, 0xC0


def listen(protocol: int, *groups: int, program: bytes = b"") -> socket.socket:
    """Return a socket that does not block, in the calling thread's namespace; *program* is a classic BPF filter."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    sock.bind((0, 0))
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    if program:
        buffer = ctypes.create_string_buffer(program, len(program))
        length = len(program) // _INSTRUCTION.size
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", length, ctypes.addressof(buffer)))
    for group in groups:
        sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    return sock


def permanent_neighbours() -> bytes:
    """Return the filter that passes notifications of neighbour entries that programs set (permanent, noarp) only.

    The kernel's own entries change with the traffic of every container.
    """
    steps = (
        (_LOAD_HALF, 0, 0, _KIND_AT),
        (_EQUAL, 0, 5, _half(_NEW_NEIGHBOUR)),
        (_LOAD_BYTE, 0, 0, _FAMILY_AT),
        (_EQUAL, 3, 0, _BRIDGE_FAMILY),
        (_LOAD_HALF, 0, 0, _STATE_AT),
        (_ANY_BIT, 0, 1, _half(_SET_BY_PROGRAMS)),
        (_RETURN, 0, 0, 0xFFFFFFFF),
        (_RETURN, 0, 0, 0),
    )
    return b"".join(_INSTRUCTION.pack(*step) for step in steps)


def _half(value: int) -> int:
    """Return a 16-bit field of a netlink message as BPF loads it: big-endian, while the message is in host order."""
    return int.from_bytes(struct.pack("=H", value), "big")
