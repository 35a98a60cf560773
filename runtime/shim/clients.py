"""The connections to a shim: daemons that wait for the end, and attached clients of the streams.

Owns the listening socket and the connections.  Output is kept for every attached client up to :data:`HIGH`; when one
buffer is full, the shim stops reading the process's output until it has room, as Docker does, so a slow reader misses
nothing.  A client attached with :data:`KEEP` is waited for as long as its connection stands.  Another one is
disconnected after :data:`PATIENCE` seconds without progress: it attached to a process that has a log and an owner, and
a forgotten terminal must not stop that for ever.

A client gets ``OUTPUT_END`` after the last output, before its connection is closed; without it the output was cut off.
"""

from __future__ import annotations

import _socket
import time

from runtime import frames as framing
from runtime.shim import event_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Owner(Protocol):
        """The shim, as its clients see it."""

        def describe(self) -> tuple[bytes, tuple[int, ...]]:
            """Return what a daemon is told when it says hello, and the descriptors that it keeps for us."""

        def command(self, kind: int, payload: bytes) -> None:
            """Carry out a frame that is not about the connection itself."""

        def lost(self, client: Client) -> None: ...

        def flow(self, *, open_: bool) -> None:
            """Stop reading the process's output, or go on."""


HIGH = 256 << 10
LOW = 64 << 10
PATIENCE = 60.0
IN, OUT, ERR, KEEP = 4, 1, 2, 8
_STREAMS = IN | OUT | ERR


class Client:
    """One connection.  ``streams`` are those it is attached to; 0 for a daemon's own connection."""

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self.frames = framing.Frames()
        self.pending = bytearray()
        self.moved = time.monotonic()
        self.streams = 0
        self.waits = False
        self.keep = False
        self.deaf = False
        self.paused = False


class Clients:
    def __init__(self, owner: Owner, events: event_loop.Loop, listener: _socket.socket) -> None:
        self._owner = owner
        self._loop = events
        self._clients: list[Client] = []
        self._listener = listener
        self._blocked = False
        events.watch(listener.fileno(), event_loop.READ, self._accept)

    def add(self, sock: _socket.socket) -> Client:
        sock.setblocking(False)
        client = Client(sock)
        self._clients.append(client)
        self._watch(client)
        return client

    def accept_waiting(self) -> None:
        """Take all who have connected by now, with what they have said."""
        while (client := self._accept(0)) is not None:
            self._read(client)

    def send(self, client: Client, kind: int, payload: bytes = b"", descriptors: tuple[int, ...] = ()) -> None:
        if descriptors and not client.pending:
            try:
                client.sock.setblocking(True)
                framing.send(client.sock, kind, payload, descriptors)
                client.sock.setblocking(False)
            except OSError:
                self.drop(client)
            return
        if client.deaf:
            return
        if not client.pending:
            client.moved = time.monotonic()
        client.pending += framing.frame(kind, payload)
        self._flush(client)

    def tell_waiting(self, kind: int, payload: bytes = b"") -> None:
        for client in [c for c in self._clients if c.waits]:
            self.send(client, kind, payload)

    def end_output(self) -> None:
        """Tell all attached clients that they have had all the output."""
        for client in [c for c in self._clients if c.streams]:
            self.send(client, framing.OUTPUT_END)

    def output(self, stream: int, data: bytes) -> None:
        """Hand output to all who are attached to *stream*."""
        for client in [c for c in self._clients if c.streams & stream]:
            self.send(client, framing.OUTPUT, bytes((stream,)) + data)
        if not self._blocked and any(len(c.pending) > HIGH for c in self._clients):
            self._blocked = True
            self._owner.flow(open_=False)

    def pause_input(self, paused: bool) -> None:
        """Stop or go on reading from those who may write to standard input."""
        for client in self._clients:
            if client.streams & IN and client.paused != paused:
                client.paused = paused
                self._watch(client)

    def patience(self) -> float:
        """Return for how many seconds the loop may sleep: -1 unless a slow client has to be watched."""
        return 1.0 if any(c.pending and not c.keep for c in self._clients) else -1

    def drop_stalled(self) -> None:
        now = time.monotonic()
        for client in [c for c in self._clients if c.pending and not c.keep and now - c.moved > PATIENCE]:
            self.drop(client)

    def idle(self) -> bool:
        """Whether everything has been delivered."""
        return not any(client.pending for client in self._clients)

    def drop(self, client: Client) -> None:
        if client not in self._clients:
            return
        self._clients.remove(client)
        self._loop.forget(client.sock.fileno())
        client.sock.close()
        client.pending.clear()
        self._owner.lost(client)
        self._reopen()

    def stop_listening(self) -> None:
        self._loop.forget(self._listener.fileno())
        self._listener.close()

    def close(self) -> None:
        for client in list(self._clients):
            self.drop(client)

    def _watch(self, client: Client) -> None:
        events = (0 if client.paused else event_loop.READ) | (event_loop.WRITE if client.pending else 0)
        self._loop.watch(client.sock.fileno(), events, lambda seen: self._ready(client, seen))

    def _accept(self, _events: int) -> Client | None:
        try:
            descriptor, _address = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return None
        return self.add(_socket.socket(fileno=descriptor))

    def _ready(self, client: Client, events: int) -> None:
        if events & event_loop.WRITE:
            self._flush(client)
        if events & (event_loop.READ | event_loop.GONE) and client in self._clients:
            self._read(client)

    def _read(self, client: Client) -> None:
        try:
            data = client.sock.recv(32768)
            frames = client.frames.feed(data)
        except BlockingIOError:
            return
        except (OSError, framing.Broken):
            data, frames = b"", []
        for kind, payload in frames:
            self._handle(client, kind, payload)
        if not data:
            self.drop(client)

    def _handle(self, client: Client, kind: int, payload: bytes) -> None:
        if kind == framing.HELLO:
            client.waits = True
            self.send(client, framing.STATE, *self._owner.describe())
        elif kind == framing.ATTACH:
            client.streams = payload[0] & _STREAMS
            client.keep = bool(payload[0] & KEEP)
            self.send(client, framing.STATE, framing.pack({"ends": True}))
        else:
            self._owner.command(kind, payload)

    def _flush(self, client: Client) -> None:
        try:
            while client.pending:
                sent = client.sock.send(client.pending[: 64 << 10], _socket.MSG_NOSIGNAL)
                del client.pending[:sent]
                client.moved = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:  # it has gone; what it has sent before is read first, and its end after that
            client.deaf = True
            client.pending.clear()
        if client in self._clients:
            self._watch(client)
        self._reopen()

    def _reopen(self) -> None:
        if self._blocked and all(len(client.pending) < LOW for client in self._clients):
            self._blocked = False
            self._owner.flow(open_=True)
