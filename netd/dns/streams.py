"""Questions over TCP: length-prefixed, many on a connection, answered in the order in which replies are ready.

A connection gets one question per turn.  A container has a bounded number of connections; one more ends the one
that has been idle longest, so that only the container itself suffers from leaving them open.
"""

from __future__ import annotations

import select
import socket
import time
from functools import partial

from netd.dns.loop import READ, WRITE, Loop
from netd.dns.respond import Responder
from netd.dns.sandbox import Sandbox

IDLE = 10.0
"""Seconds after which a silent connection is closed."""
MOST_CONNECTIONS = 32
"""Per container."""
_MOST_UNSENT = 1 << 18
"""Bytes of replies kept for somebody who asks and does not read."""
_READ_SIZE = 16384
_NO_ROOM_PAUSE = 0.5
"""Seconds without accepting after the descriptors have run out."""


class Streams:
    """The TCP side of all sandboxes."""

    def __init__(self, loop: Loop, responder: Responder) -> None:
        self._loop = loop
        self._responder = responder
        self._connections: dict[str, set[_Connection]] = {}

    def open(self, sandbox: Sandbox) -> None:
        self._connections[sandbox.id] = set()
        self._loop.watch(sandbox.tcp.fileno(), READ, partial(self._accept, sandbox))

    def close(self, sandbox: Sandbox) -> None:
        self._loop.forget(sandbox.tcp.fileno())
        for connection in tuple(self._connections.pop(sandbox.id, ())):
            connection.close()

    def _accept(self, sandbox: Sandbox, events: int) -> None:
        try:
            sock, _ = sandbox.tcp.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:
            self._loop.forget(sandbox.tcp.fileno())
            self._loop.later(_NO_ROOM_PAUSE, partial(self._resume, sandbox))
            return
        connections = self._connections[sandbox.id]
        if len(connections) >= MOST_CONNECTIONS:
            min(connections, key=lambda connection: connection.used).close()
        connections.add(_Connection(self._loop, self._responder, sandbox, sock, connections))

    def _resume(self, sandbox: Sandbox) -> None:
        if not sandbox.closed:
            self._loop.watch(sandbox.tcp.fileno(), READ, partial(self._accept, sandbox))


class _Connection:
    """One connection; leaves *peers* when it closes."""

    def __init__(
        self, loop: Loop, responder: Responder, sandbox: Sandbox, sock: socket.socket, peers: set[_Connection]
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
        self._waiting = False
        """A turn for questions that are already here has been asked for."""
        self._blocked = False
        loop.watch(sock.fileno(), READ, self._ready)
        self._timer = loop.later(IDLE, self._expire)

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
        if events & WRITE:
            self._push()
        if self._open and events & (READ | select.EPOLLHUP | select.EPOLLERR):
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
            data = b""
        if not data:
            self.close()
            return
        self.used = time.monotonic()
        self._asked += data
        self._turn()

    def _turn(self) -> None:
        """Answer one question; whatever is left waits for the next round."""
        self._waiting = False
        size = int.from_bytes(self._asked[:2]) + 2
        if not self._open or len(self._asked) < 2 or len(self._asked) < size:
            return
        packet = bytes(self._asked[2:size])
        del self._asked[:size]
        reply = self._responder.respond(self._sandbox, packet, True, partial(self._deliver, packet[:2]))
        if reply is not None:
            self._deliver(packet[:2], reply)
        if self._asked and not self._waiting:
            self._waiting = True
            self._loop.soon(self._turn)

    def _deliver(self, query_id: bytes, reply: bytes) -> None:
        if not self._open:
            return
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
            self._loop.watch(self._sock.fileno(), READ | WRITE if self._blocked else READ, self._ready)
