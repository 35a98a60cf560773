"""One question to one resolver, over UDP or TCP.

Each has a socket of its own, connected, on a port that the kernel drew, and an id that we drew: a reply counts only
from that address, to that port, with that id and that question.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

from netd.dns.event_loop import READ, WRITE, Loop
from netd.dns.forwarding.reply_checks import is_reply
from netd.dns.records import Upstream

PORT = 53
_LARGEST = 65535
_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EADDRNOTAVAIL))
"""What this host lacks: descriptors, memory, ports."""

Heard: TypeAlias = Callable[["Attempt", bytes | None], None]
"""Told the reply, with its id, or None when there will be none."""
Open: TypeAlias = Callable[[int, int], socket.socket]
"""Opens a non-blocking socket of a family and kind, where the resolver is to be asked from."""


class Attempt(Protocol):
    upstream: Upstream
    query: bytes
    """As it was sent, with its id."""
    begun: float
    """Monotonic seconds."""

    def close(self) -> None: ...


class Datagram:
    """Raises OSError when it cannot even be sent."""

    def __init__(self, loop: Loop, open_socket: Open, upstream: Upstream, question: bytes, heard: Heard) -> None:
        self.upstream = upstream
        self.begun = time.monotonic()
        self._loop = loop
        self._heard = heard
        self.query = os.urandom(2) + question
        self._sock = open_socket(_family(upstream), socket.SOCK_DGRAM)
        try:
            self._sock.connect((upstream.address, PORT))
            self._sock.send(self.query)
        except OSError:
            self._sock.close()
            raise
        loop.watch(self._sock.fileno(), READ, self._readable)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.forget(self._sock.fileno())
            self._sock.close()

    def _readable(self, events: int) -> None:
        try:
            reply = self._sock.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError:
            self._heard(self, None)
            return
        if is_reply(self.query, reply):
            self._heard(self, reply)


class Stream:
    """Raises OSError when the connection cannot even be begun."""

    def __init__(self, loop: Loop, open_socket: Open, upstream: Upstream, question: bytes, heard: Heard) -> None:
        self.upstream = upstream
        self.begun = time.monotonic()
        self._loop = loop
        self._heard = heard
        self.query = os.urandom(2) + question
        self._unsent = (len(self.query)).to_bytes(2) + self.query
        self._received = bytearray()
        self._sock = open_socket(_family(upstream), socket.SOCK_STREAM)
        try:
            self._sock.connect((upstream.address, PORT))
        except BlockingIOError:
            pass
        except OSError:
            self._sock.close()
            raise
        loop.watch(self._sock.fileno(), WRITE, self._writable)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.forget(self._sock.fileno())
            self._sock.close()

    def _writable(self, events: int) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except OSError as problem:
            if problem.errno != errno.EAGAIN:
                self._heard(self, None)
            return
        if not self._unsent:
            self._loop.watch(self._sock.fileno(), READ, self._readable)

    def _readable(self, events: int) -> None:
        try:
            data = self._sock.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        end = int.from_bytes(self._received[:2]) + 2
        if 2 < end <= len(self._received):
            reply = bytes(self._received[2:end])
            self._heard(self, reply if is_reply(self.query, reply) else None)
        elif not data:
            self._heard(self, None)


def _family(upstream: Upstream) -> int:
    return socket.AF_INET6 if ":" in upstream.address else socket.AF_INET


def socket_here(family: int, kind: int) -> socket.socket:
    return socket.socket(family, kind | socket.SOCK_NONBLOCK)


def is_shortage(problem: OSError) -> bool:
    """Whether a question could not be sent for a reason that says nothing about the server."""
    return problem.errno in _SHORTAGES
