"""UDP in batches: one recvmmsg(2) receives up to 32 queries, one sendmmsg(2) sends the responses.

Buffers are allocated once and shared by all sockets.  A response overwrites its query after the two bytes of the id,
and is sent to the sockaddr that the kernel wrote: no address is parsed and no object made for it.  With one query at
a time this costs the same as recvfrom and sendto; under load it is a fifth faster (measured).
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

from netd.dns.messages.message import RoundRobin

SLOTS = 32
SLOT = 2048
"""Bytes for one datagram; queries of resolver libraries are shorter."""
_NAME = 16
"""sizeof(struct sockaddr_in)."""

Address: TypeAlias = tuple[str, int]
Otherwise: TypeAlias = Callable[[bytes, Address], bytes | None]


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vector", ctypes.c_void_p),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("message", _Message), ("received", ctypes.c_uint))


_libc = ctypes.CDLL(None)
_libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_libc.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class Batch:
    """The buffers, and the loop that sends all prepared responses."""

    def __init__(self) -> None:
        self._data = bytearray(SLOTS * SLOT)
        self._names = bytearray(SLOTS * _NAME)
        self._vectors = ((_Iovec * SLOTS)(), (_Iovec * SLOTS)())
        self._headers = ((_Header * SLOTS)(), (_Header * SLOTS)())
        data, names = _address_of(self._data), _address_of(self._names)
        for vectors, headers in zip(self._vectors, self._headers, strict=True):
            for slot in range(SLOTS):
                vectors[slot] = _Iovec(data + slot * SLOT, SLOT)
                vector = ctypes.addressof(vectors) + slot * ctypes.sizeof(_Iovec)
                headers[slot] = _Header(_Message(names + slot * _NAME, _NAME, vector, 1))
        self._view = memoryview(self._data)
        self._received = memoryview(self._headers[0]).cast("B").cast("I")
        self._lengths = memoryview(self._vectors[1]).cast("B").cast("L")
        self._into, self._from = map(ctypes.addressof, self._headers)
        self._slot_table = [_slot_offsets(slot) for slot in range(SLOTS)]

    def serve(self, fd: int, most: int, prepared: Mapping[bytes, object], otherwise: Otherwise) -> tuple[int, int]:
        """Receive up to *most* queries from *fd* and send the responses of *prepared* or *otherwise*.

        *otherwise* is called with the whole packet and its sender for a query that is not in *prepared*; None from it
        sends no response now.  Returns the number of queries, and that of these calls.
        """
        count = _libc.recvmmsg(fd, self._into, most, socket.MSG_DONTWAIT, None)
        view, received, lengths, get = self._view, self._received, self._lengths, prepared.get
        begin = misses = 0
        for slot, start, body, at_received, at_length in self._slot_table[: max(count, 0)]:
            end = start + received[at_received]
            response = get(bytes(view[body:end]))
            if response.__class__ is not bytes:
                if isinstance(response, RoundRobin):
                    response = response.next()
                else:
                    misses += 1
                    response = otherwise(bytes(view[start:end]), self._sender(slot))
                    if response is None:
                        self._send(fd, begin, slot)
                        begin = slot + 1
                        continue
            size = len(response)
            view[body : body + size] = response
            lengths[at_length] = size + 2
        self._send(fd, begin, count)
        return max(count, 0), misses

    def _send(self, fd: int, begin: int, end: int) -> None:
        """Send the responses in slots *begin* to *end*; one that the kernel rejects is dropped."""
        while begin < end:
            header = self._from + begin * ctypes.sizeof(_Header)
            begin += max(1, _libc.sendmmsg(fd, header, end - begin, socket.MSG_DONTWAIT))

    def _sender(self, slot: int) -> Address:
        port, address = struct.unpack_from("!2xH4s", self._names, slot * _NAME)
        return socket.inet_ntoa(address), port


def _address_of(buffer: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _slot_offsets(slot: int) -> tuple[int, int, int, int, int]:
    """Return a slot's number, the offsets of its packet and of its query without id, and the indexes of its lengths."""
    received = slot * ctypes.sizeof(_Header) + _Header.received.offset
    length = slot * ctypes.sizeof(_Iovec) + _Iovec.length.offset
    return slot, slot * SLOT, slot * SLOT + 2, received // 4, length // ctypes.sizeof(ctypes.c_size_t)
