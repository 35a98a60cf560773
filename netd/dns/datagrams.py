"""Buffers for recvmmsg(2) and sendmmsg(2): many datagrams for one system call.

The buffers are allocated once.  Receiving and sending use the same memory, so that a response can overwrite its query
and be sent to the sockaddr that the kernel wrote: no address is parsed and no object made for it.
"""

from __future__ import annotations

import ctypes
import mmap
import socket

NAME = 16
"""sizeof(struct sockaddr_in)."""


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


_HEADER = ctypes.sizeof(_Header)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_libc.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class Datagrams:
    """*count* slots of *size* bytes each; ``has_names``: with the IPv4 address of the peer, for unconnected sockets."""

    def __init__(self, count: int, size: int, has_names: bool) -> None:
        self.size = size
        memory = mmap.mmap(-1, count * size)  # Pages are allocated when they are written: most datagrams are short.
        self.view = memoryview(memory)
        """The bytes of all slots."""
        names = bytearray(count * NAME)
        self.names = memoryview(names)
        """The sockaddrs of all slots."""
        self._vectors = ((_Iovec * count)(), (_Iovec * count)())
        self._headers = ((_Header * count)(), (_Header * count)())
        data, name = _address_of(memory), _address_of(names)
        for vectors, headers in zip(self._vectors, self._headers, strict=True):
            for slot in range(count):
                vectors[slot] = _Iovec(data + slot * size, size)
                vector = ctypes.addressof(vectors) + slot * ctypes.sizeof(_Iovec)
                peer = (name + slot * NAME, NAME) if has_names else (None, 0)
                headers[slot] = _Header(_Message(*peer, vector, 1))
        self.received = memoryview(self._headers[0]).cast("B").cast("I")[_Header.received.offset // 4 :: _HEADER // 4]
        """Slot → bytes that were received."""
        self.lengths = memoryview(self._vectors[1]).cast("B").cast("L")[1::2]
        """Slot → bytes to send."""
        self._into, self._from = map(ctypes.addressof, self._headers)

    def receive(self, fd: int, most: int) -> int:
        """Receive up to *most* datagrams into the slots from 0 on; return their number, -1 for an error (``errno``)."""
        return int(_libc.recvmmsg(fd, self._into, most, socket.MSG_DONTWAIT, None))

    def send(self, fd: int, begin: int, end: int) -> int:
        """Send the slots from *begin* to *end*; return how many were sent, -1 for an error at the first (``errno``)."""
        return int(_libc.sendmmsg(fd, self._from + begin * _HEADER, end - begin, socket.MSG_DONTWAIT))

    def send_all(self, fd: int, begin: int, end: int) -> None:
        """Send the slots from *begin* to *end*; a datagram that the kernel rejects is dropped."""
        while begin < end:
            begin += max(1, _libc.sendmmsg(fd, self._from + begin * _HEADER, end - begin, socket.MSG_DONTWAIT))


def errno() -> int:
    """Return the error of the last call that returned -1."""
    return ctypes.get_errno()


def _address_of(buffer: bytearray | mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
