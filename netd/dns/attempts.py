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

from netd.dns.loop import READ, WRITE, Loop
from netd.dns.records import Upstream
from netd.dns.wire import HEADER, question_end

PORT = 53
_LARGEST = 65535

Heard: TypeAlias = Callable[["Attempt", bytes | None], None]
"""Told the reply, with its id, or None when there will be none."""
Open: TypeAlias = Callable[[int, int], socket.socket]
"""Opens a non-blocking socket of a family and kind, where the resolver is to be asked from."""


class Attempt(Protocol):
    upstream: Upstream
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
        self._query = os.urandom(2) + question
        self._sock = open_socket(_family(upstream), socket.SOCK_DGRAM)
        try:
            self._sock.connect((upstream.address, PORT))
            self._sock.send(self._query)
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
        if is_reply(self._query, reply):
            self._heard(self, reply)


class Stream:
    """Raises OSError when the connection cannot even be begun."""

    def __init__(self, loop: Loop, open_socket: Open, upstream: Upstream, question: bytes, heard: Heard) -> None:
        self.upstream = upstream
        self.begun = time.monotonic()
        self._loop = loop
        self._heard = heard
        self._query = os.urandom(2) + question
        self._unsent = (len(self._query)).to_bytes(2) + self._query
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
            self._heard(self, reply if is_reply(self._query, reply) else None)
        elif not data:
            self._heard(self, None)


def _family(upstream: Upstream) -> int:
    return socket.AF_INET6 if ":" in upstream.address else socket.AF_INET


def is_reply(query: bytes, reply: bytes) -> bool:
    """Whether *reply* answers *query*: the same id and question; one that reports an error may lack the question."""
    if len(reply) < HEADER or reply[:2] != query[:2] or not reply[2] & 0x80:
        return False
    if reply[4:6] == bytes(2):
        return reply[3] & 15 != 0
    end = question_end(query)
    asked, echoed = query[HEADER:end], reply[HEADER:end]
    return reply[4:6] == b"\0\1" and echoed[-4:] == asked[-4:] and echoed[:-4].lower() == asked[:-4].lower()
