"""DNS over TCP: length-prefixed queries, pipelined, answered in the order in which responses are ready.

A connection gets one query per round of the event loop.  The number of connections per container is limited.  At the
limit, a new connection closes the container's connection that has been idle longest.  A connection that waits for a
response is never closed in this way: while all of them wait, new connections stay in the backlog.  A client
may shut down its sending side after its last query (RFC 7766, section 6.2.3) and still gets the responses.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Collection
from functools import partial

from netd.dns.event_loop import READ, WRITE, Loop
from netd.dns.messages.message import is_query
from netd.dns.sandbox import ServedSandbox
from netd.dns.server.respond import Responder

IDLE_LIMIT = 10.0
"""Seconds after which an idle connection is closed."""
GRACE = 0.5
"""Seconds after its last use for which a connection is not closed for another."""
MAX_CONNECTIONS = 64
"""Per container."""
_MAX_UNSENT = 1 << 18
"""Bytes of responses kept for a client that does not read."""
_READ_SIZE = 16384
_NO_ROOM_PAUSE = 0.1
"""Seconds without accepting after a limit was reached."""


class TcpServer:
    """The TCP side of all sandboxes."""

    def __init__(self, loop: Loop, responder: Responder) -> None:
        self._loop = loop
        self._responder = responder
        self._connections: dict[str, set[_Connection]] = {}

    def open(self, sandbox: ServedSandbox) -> None:
        self._connections[sandbox.id] = set()
        self._loop.watch(sandbox.tcp.fileno(), READ, partial(self._accept, sandbox))

    def close(self, sandbox: ServedSandbox) -> None:
        self._loop.unwatch(sandbox.tcp.fileno())
        for connection in tuple(self._connections.pop(sandbox.id, ())):
            connection.close()

    def _accept(self, sandbox: ServedSandbox, events: int) -> None:
        connections = self._connections[sandbox.id]
        if len(connections) >= MAX_CONNECTIONS and not _close_idlest(connections):
            self._pause(sandbox)
            return
        try:
            sock, _ = sandbox.tcp.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:
            _close_idlest(max(self._connections.values(), key=len))
            self._pause(sandbox)
            return
        connections.add(_Connection(self._loop, self._responder, sandbox, sock, connections))

    def _pause(self, sandbox: ServedSandbox) -> None:
        self._loop.unwatch(sandbox.tcp.fileno())
        self._loop.call_later(_NO_ROOM_PAUSE, partial(self._resume, sandbox))

    def _resume(self, sandbox: ServedSandbox) -> None:
        if sandbox.closed:
            return
        try:
            self._loop.watch(sandbox.tcp.fileno(), READ, partial(self._accept, sandbox))
        except OSError:
            self._loop.call_later(_NO_ROOM_PAUSE, partial(self._resume, sandbox))


def _close_idlest(connections: Collection[_Connection]) -> bool:
    """Close the connection that has been idle longest; False if all wait for responses or were used just now."""
    for connection in sorted(connections, key=lambda connection: connection.used):
        if not connection.is_busy():
            connection.close()
            return True
    return False


class _Connection:
    """One connection; removes itself from *peers* when it closes."""

    def __init__(
        self, loop: Loop, responder: Responder, sandbox: ServedSandbox, sock: socket.socket, peers: set[_Connection]
    ) -> None:
        sock.setblocking(False)
        self.used = time.monotonic()
        self._loop = loop
        self._responder = responder
        self._sandbox = sandbox
        self._sock = sock
        self._peers = peers
        self._received = bytearray()
        self._unsent = bytearray()
        self._open = True
        self._pending = 0
        """Number of queries without a response yet."""
        self._half_closed = False
        self._scheduled = False
        """``_handle_query`` is scheduled for a query that was received already."""
        self._blocked = False
        loop.watch(sock.fileno(), READ, self._on_events)
        self._timer = loop.call_later(IDLE_LIMIT, self._expire)

    def is_busy(self) -> bool:
        """Return True if a response is pending, or a query may be in transit or unread."""
        if self._pending or self._scheduled or time.monotonic() - self.used < GRACE:
            return True
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def close(self) -> None:
        if self._open:
            self._open = False
            self._timer.cancel()
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._peers.discard(self)

    def _expire(self) -> None:
        left = self.used + IDLE_LIMIT - time.monotonic()
        if left <= 0:
            self.close()
        else:
            self._timer = self._loop.call_later(left, self._expire)

    def _on_events(self, events: int) -> None:
        if events & (select.EPOLLHUP | select.EPOLLERR):
            self.close()
            return
        if events & WRITE:
            self._push()
        if self._open and events & READ:
            self._read()

    def _read(self) -> None:
        """Read only after the queries read before were handled, which limits the memory of a connection."""
        if self._scheduled:
            return
        try:
            data = self._sock.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._half_closed = True
            self._watch()
            self._close_if_done()
            return
        self.used = time.monotonic()
        self._received += data
        self._handle_query()

    def _handle_query(self) -> None:
        """Handle one query; the others are handled in the next rounds."""
        self._scheduled = False
        size = int.from_bytes(self._received[:2]) + 2
        if not self._open or len(self._received) < 2 or len(self._received) < size:
            self._close_if_done()
            return
        packet = bytes(self._received[2:size])
        del self._received[:size]
        if self._received:
            self._scheduled = True
            self._loop.call_soon(self._handle_query)
        self._pending += is_query(packet)
        reply = self._responder.respond(self._sandbox, packet, True, partial(self._deliver, packet[:2]))
        if reply is not None:
            self._deliver(packet[:2], reply)
        else:
            self._close_if_done()

    def _deliver(self, query_id: bytes, reply: bytes) -> None:
        if not self._open:
            return
        self._pending -= 1
        self.used = time.monotonic()
        self._unsent += (len(reply) + 2).to_bytes(2) + query_id + reply
        self._push()

    def _push(self) -> None:
        try:
            sent = self._sock.send(self._unsent) if self._unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._unsent[:sent]
        if len(self._unsent) > _MAX_UNSENT:
            self.close()
            return
        if self._blocked != bool(self._unsent):
            self._blocked = not self._blocked
            self._watch()
        self._close_if_done()

    def _watch(self) -> None:
        read = 0 if self._half_closed else READ
        self._loop.watch(self._sock.fileno(), read | WRITE if self._blocked else read, self._on_events)

    def _close_if_done(self) -> None:
        """Close a half-closed connection once all responses are sent."""
        if self._open and self._half_closed and not (self._pending or self._unsent or self._scheduled):
            self.close()
