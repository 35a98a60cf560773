"""Questions over TCP: length-prefixed, many on a connection, answered in the order in which replies are ready.

A connection gets one question per turn.  A container has a bounded number of connections; one more ends the one
that has been idle longest, so that only the container itself suffers from leaving them open.  A connection that waits
for an answer is never ended for another: while all do, new ones wait in the listening socket.  A client may close its
side after its last question (RFC 7766, section 6.2.3) and still gets the answers.
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

IDLE = 10.0
"""Seconds after which a silent connection is closed."""
GRACE = 0.5
"""Seconds for which a connection is not ended for another after it was opened or used."""
MOST_CONNECTIONS = 64
"""Per container."""
_MOST_UNSENT = 1 << 18
"""Bytes of replies kept for somebody who asks and does not read."""
_READ_SIZE = 16384
_NO_ROOM_PAUSE = 0.1
"""Seconds without accepting when there is no room for a connection."""


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
        self._loop.forget(sandbox.tcp.fileno())
        for connection in tuple(self._connections.pop(sandbox.id, ())):
            connection.close()

    def _accept(self, sandbox: ServedSandbox, events: int) -> None:
        connections = self._connections[sandbox.id]
        if len(connections) >= MOST_CONNECTIONS and not _end_idlest(connections):
            self._pause(sandbox)
            return
        try:
            sock, _ = sandbox.tcp.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:
            _end_idlest(max(self._connections.values(), key=len))
            self._pause(sandbox)
            return
        connections.add(_Connection(self._loop, self._responder, sandbox, sock, connections))

    def _pause(self, sandbox: ServedSandbox) -> None:
        self._loop.forget(sandbox.tcp.fileno())
        self._loop.later(_NO_ROOM_PAUSE, partial(self._resume, sandbox))

    def _resume(self, sandbox: ServedSandbox) -> None:
        if sandbox.closed:
            return
        try:
            self._loop.watch(sandbox.tcp.fileno(), READ, partial(self._accept, sandbox))
        except OSError:
            self._loop.later(_NO_ROOM_PAUSE, partial(self._resume, sandbox))


def _end_idlest(connections: Collection[_Connection]) -> bool:
    """End the connection that nobody has used for longest; False when all wait for answers or were used just now."""
    for connection in sorted(connections, key=lambda connection: connection.used):
        if not connection.waits():
            connection.close()
            return True
    return False


class _Connection:
    """One connection; leaves *peers* when it closes."""

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
        self._asked = bytearray()
        self._unsent = bytearray()
        self._open = True
        self._under_way = 0
        """Questions whose answers are still to come."""
        self._half_closed = False
        self._waiting = False
        """A turn for questions that are already here has been asked for."""
        self._blocked = False
        loop.watch(sock.fileno(), READ, self._ready)
        self._timer = loop.later(IDLE, self._expire)

    def waits(self) -> bool:
        """Whether an answer is still to come, or a question may be on its way or unread."""
        if self._under_way or self._waiting or time.monotonic() - self.used < GRACE:
            return True
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def close(self) -> None:
        if self._open:
            self._open = False
            self._timer.cancel()
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._peers.discard(self)

    def _expire(self) -> None:
        left = self.used + IDLE - time.monotonic()
        if left <= 0:
            self.close()
        else:
            self._timer = self._loop.later(left, self._expire)

    def _ready(self, events: int) -> None:
        if events & (select.EPOLLHUP | select.EPOLLERR):
            self.close()
            return
        if events & WRITE:
            self._push()
        if self._open and events & READ:
            self._pull()

    def _pull(self) -> None:
        """Read only when the questions read before are answered, so that nobody fills our memory."""
        if self._waiting:
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
            self._leave()
            return
        self.used = time.monotonic()
        self._asked += data
        self._turn()

    def _turn(self) -> None:
        """Answer one question; whatever is left waits for the next round."""
        self._waiting = False
        size = int.from_bytes(self._asked[:2]) + 2
        if not self._open or len(self._asked) < 2 or len(self._asked) < size:
            self._leave()
            return
        packet = bytes(self._asked[2:size])
        del self._asked[:size]
        if self._asked:
            self._waiting = True
            self._loop.soon(self._turn)
        self._under_way += is_query(packet)
        reply = self._responder.respond(self._sandbox, packet, True, partial(self._deliver, packet[:2]))
        if reply is not None:
            self._deliver(packet[:2], reply)
        else:
            self._leave()

    def _deliver(self, query_id: bytes, reply: bytes) -> None:
        if not self._open:
            return
        self._under_way -= 1
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
        if len(self._unsent) > _MOST_UNSENT:
            self.close()
            return
        if self._blocked != bool(self._unsent):
            self._blocked = not self._blocked
            self._watch()
        self._leave()

    def _watch(self) -> None:
        read = 0 if self._half_closed else READ
        self._loop.watch(self._sock.fileno(), read | WRITE if self._blocked else read, self._ready)

    def _leave(self) -> None:
        """Close a connection that the client has closed its side of, once it has all answers."""
        if self._open and self._half_closed and not (self._under_way or self._unsent or self._waiting):
            self.close()
