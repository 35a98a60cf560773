"""One query to one upstream server, over UDP or TCP.

A response is accepted only from the address that was queried, to the port and with the id of the query, which are
random, and with its question.
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
from netd.dns.forwarding.udp_ports import PORT, Port, UdpPorts, family_of
from netd.dns.messages.message import HEADER
from netd.dns.records import Upstream

_MAX_SIZE = 65535
_ONE = b"\0\1"
_RESPONSE = 0x80
"""QR in the third byte of the header."""
OnResponse: TypeAlias = Callable[["Attempt", bytes | None], None]
"""Called with the response, including its id, or with None if the attempt has failed."""
OpenStream: TypeAlias = Callable[[int], socket.socket]
"""Opens a non-blocking TCP socket of a family, in the network namespace from which the query is sent."""


class Attempt(Protocol):
    """A query that was sent; closes its socket with ``close``."""

    upstream: Upstream
    query: bytes
    """The bytes that were sent, with the id."""
    begun: float
    """Monotonic seconds."""
    is_exact: bool
    """The response is known to have the question in identical case."""

    def close(self) -> None: ...


class Datagram:
    """A query over UDP.  Raises OSError if it cannot be sent."""

    __slots__ = ("_end", "_on_response", "_port", "_ports", "begun", "is_exact", "query", "upstream")

    def __init__(self, ports: UdpPorts, upstream: Upstream, question: bytes, end: int, on_response: OnResponse) -> None:
        """*end*: the offset after the question in the packet with its id."""
        self._end = end
        self.is_exact = False
        self.upstream = upstream
        self.begun = time.monotonic()
        self._on_response = on_response
        self._ports = ports
        self._port: Port | None
        self._port, self.query = ports.send(upstream, question, self)

    @classmethod
    def of_sent(
        cls,
        ports: UdpPorts,
        port: Port,
        upstream: Upstream,
        packet: bytes,
        end: int,
        begun: float,
        on_response: OnResponse,
    ) -> Datagram:
        """Return the attempt of a quick query that was sent from *port* as *packet*; it gets the port's responses."""
        attempt = cls.__new__(cls)
        attempt._end = end
        attempt.is_exact = False
        attempt.upstream = upstream
        attempt.begun = begun
        attempt._on_response = on_response
        attempt._ports = ports
        attempt._port, attempt.query = port, packet
        port.queries[packet[:2]] = attempt
        return attempt

    def close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            self._ports.end(port, self.query[:2], self)

    def received(self, packet: bytes) -> None:
        if packet[4:6] == _ONE and packet[2] & _RESPONSE and packet.startswith(self.query[HEADER : self._end], HEADER):
            self.is_exact = True
            self._on_response(self, packet)
        elif is_reply(self.query, packet):
            self._on_response(self, packet)

    def refused(self) -> None:
        if self._port is not None:
            self._on_response(self, None)


class Stream:
    """A query over TCP.  Raises OSError if connect(2) fails at once."""

    def __init__(
        self, loop: Loop, open_stream: OpenStream, upstream: Upstream, question: bytes, on_response: OnResponse
    ) -> None:
        self.upstream = upstream
        self.begun = time.monotonic()
        self.is_exact = False
        self._loop = loop
        self._on_response = on_response
        self.query = os.urandom(2) + question
        self._unsent = (len(self.query)).to_bytes(2) + self.query
        self._received = bytearray()
        self._sock = open_stream(family_of(upstream))
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


def stream_here(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
