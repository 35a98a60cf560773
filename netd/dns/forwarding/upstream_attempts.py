"""One query to one upstream server, over UDP or TCP.

Each attempt has its own connected socket, on a random port chosen by the kernel, and a random id: a response is
accepted only from that address, to that port, with that id and that question.
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
_MAX_SIZE = 65535
_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EADDRNOTAVAIL))
"""Errors of the local host: no free descriptors, memory or ports."""

OnResponse: TypeAlias = Callable[["Attempt", bytes | None], None]
"""Called with the response, including its id, or with None if the attempt has failed."""
OpenSocket: TypeAlias = Callable[[int, int], socket.socket]
"""Opens a non-blocking socket of a family and type, in the network namespace from which the query is sent."""


class Attempt(Protocol):
    """A query that was sent; closes its socket with ``close``."""

    upstream: Upstream
    query: bytes
    """The bytes that were sent, with the id."""
    begun: float
    """Monotonic seconds."""

    def close(self) -> None: ...


class Datagram:
    """A query over UDP.  Raises OSError if it cannot be sent."""

    def __init__(
        self, loop: Loop, open_socket: OpenSocket, upstream: Upstream, question: bytes, on_response: OnResponse
    ) -> None:
        self.upstream = upstream
        self.begun = time.monotonic()
        self._loop = loop
        self._on_response = on_response
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
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()

    def _readable(self, events: int) -> None:
        try:
            reply = self._sock.recv(_MAX_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._on_response(self, None)
            return
        if is_reply(self.query, reply):
            self._on_response(self, reply)


class Stream:
    """A query over TCP.  Raises OSError if connect(2) fails at once."""

    def __init__(
        self, loop: Loop, open_socket: OpenSocket, upstream: Upstream, question: bytes, on_response: OnResponse
    ) -> None:
        self.upstream = upstream
        self.begun = time.monotonic()
        self._loop = loop
        self._on_response = on_response
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
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()

    def _writable(self, events: int) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except OSError as problem:
            if problem.errno != errno.EAGAIN:
                self._on_response(self, None)
            return
        if not self._unsent:
            self._loop.watch(self._sock.fileno(), READ, self._readable)

    def _readable(self, events: int) -> None:
        try:
            data = self._sock.recv(_MAX_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        end = int.from_bytes(self._received[:2]) + 2
        if 2 < end <= len(self._received):
            reply = bytes(self._received[2:end])
            self._on_response(self, reply if is_reply(self.query, reply) else None)
        elif not data:
            self._on_response(self, None)


def _family(upstream: Upstream) -> int:
    return socket.AF_INET6 if ":" in upstream.address else socket.AF_INET


def socket_here(family: int, kind: int) -> socket.socket:
    return socket.socket(family, kind | socket.SOCK_NONBLOCK)


def is_shortage(problem: OSError) -> bool:
    """Return True if a query was not sent for lack of resources of the local host."""
    return problem.errno in _SHORTAGES
