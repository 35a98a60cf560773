"""The connections to a shim: daemons that wait for the exit status, and clients attached to the streams.

Owns the listening socket and the connections.  Output is buffered for every attached client up to :data:`HIGH_WATER`
bytes; when a buffer is full, the shim stops reading the process's output until there is room, as Docker does, so a slow
reader loses nothing.  A client attached with :data:`NO_TIMEOUT` may block the process for as long as it is connected.
Other clients, which attached after the start to a process that has a log, are disconnected after :data:`STALL_SECONDS`
without progress, so that a client that no longer reads does not block the process for ever.

A client gets ``OUTPUT_END`` after the last output, before its connection is closed; without it the output was cut off.
"""

from __future__ import annotations

import _socket
import time

from runtime import frames as framing
from runtime.shim import event_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Listener(Protocol):
        """A listening ``_socket.socket``: ``_accept`` is missing in its stubs."""

        def _accept(self) -> tuple[int, object]: ...

        def fileno(self) -> int: ...

        def close(self) -> None: ...

    class ShimCallbacks(Protocol):
        """The methods of the shim that the connections call."""

        def describe(self) -> tuple[bytes, tuple[int, ...]]:
            """Return the payload of STATE, and the descriptors that the daemon holds for the next shim."""

        def command(self, kind: int, payload: bytes) -> None:
            """Handle a frame other than HELLO and ATTACH."""

        def client_closed(self, client: Client) -> None: ...

        def set_reading(self, *, enabled: bool) -> None:
            """Stop or resume reading the process's output."""


HIGH_WATER = 256 << 10
LOW_WATER = 64 << 10
STALL_SECONDS = 60.0
IN, OUT, ERR, NO_TIMEOUT = 4, 1, 2, 8
_STREAMS = IN | OUT | ERR


class Client:
    """One connection.  ``streams``: flags of the streams that it is attached to; 0 for a daemon's own connection."""

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self.frames = framing.Frames()
        self.pending = bytearray()
        self.last_progress = time.monotonic()
        self.streams = 0
        self.subscribed = False
        self.no_timeout = False
        self.write_failed = False
        self.paused = False


class Clients:
    def __init__(self, owner: ShimCallbacks, events: event_loop.Loop, listener: _socket.socket) -> None:
        self._owner = owner
        self._loop = events
        self._clients: list[Client] = []
        untyped: Any = listener
        self._listener: Listener = untyped
        self._blocked = False
        events.watch(listener.fileno(), event_loop.READ, self._accept)

    def add(self, sock: _socket.socket) -> Client:
        sock.setblocking(False)
        client = Client(sock)
        self._clients.append(client)
        self._watch(client)
        return client

    def accept_pending(self) -> None:
        """Accept all pending connections, and handle the frames that they have sent."""
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
        if client.write_failed:
            return
        if not client.pending:
            client.last_progress = time.monotonic()
        client.pending += framing.frame(kind, payload)
        self._flush(client)

    def notify_subscribers(self, kind: int, payload: bytes = b"") -> None:
        for client in [c for c in self._clients if c.subscribed]:
            self.send(client, kind, payload)

    def end_output(self) -> None:
        """Send OUTPUT_END to all attached clients."""
        for client in [c for c in self._clients if c.streams]:
            self.send(client, framing.OUTPUT_END)

    def output(self, stream: int, data: bytes) -> None:
        """Send output to all clients attached to *stream*."""
        for client in [c for c in self._clients if c.streams & stream]:
            self.send(client, framing.OUTPUT, bytes((stream,)) + data)
        if not self._blocked and any(len(c.pending) > HIGH_WATER for c in self._clients):
            self._blocked = True
            self._owner.set_reading(enabled=False)

    def pause_input(self, paused: bool) -> None:
        """Stop or resume reading from the clients that may write to standard input."""
        for client in self._clients:
            if client.streams & IN and client.paused != paused:
                client.paused = paused
                self._watch(client)

    def poll_timeout(self) -> float:
        """Return for how many seconds the loop may sleep: -1 (for ever) unless a client may stall."""
        return 1.0 if any(c.pending and not c.no_timeout for c in self._clients) else -1

    def drop_stalled(self) -> None:
        now = time.monotonic()
        for client in [
            c for c in self._clients if c.pending and not c.no_timeout and now - c.last_progress > STALL_SECONDS
        ]:
            self.drop(client)

    def idle(self) -> bool:
        """Return whether all buffered data has been sent."""
        return not any(client.pending for client in self._clients)

    def drop(self, client: Client) -> None:
        if client not in self._clients:
            return
        self._clients.remove(client)
        self._loop.unwatch(client.sock.fileno())
        client.sock.close()
        client.pending.clear()
        self._owner.client_closed(client)
        self._reopen()

    def stop_listening(self) -> None:
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()

    def close(self) -> None:
        for client in list(self._clients):
            self.drop(client)

    def _watch(self, client: Client) -> None:
        events = (0 if client.paused else event_loop.READ) | (event_loop.WRITE if client.pending else 0)
        self._loop.watch(client.sock.fileno(), events, lambda seen: self._ready(client, seen))

    def _accept(self, _events: int) -> Client | None:
        try:
            descriptor, _address = self._listener._accept()
        except OSError:
            return None
        return self.add(_socket.socket(fileno=descriptor))

    def _ready(self, client: Client, events: int) -> None:
        if events & event_loop.WRITE:
            self._flush(client)
        if events & (event_loop.READ | event_loop.HANGUP) and client in self._clients:
            self._read(client)

    def _read(self, client: Client) -> None:
        try:
            data = client.sock.recv(32768)
            frames = client.frames.feed(data)
        except BlockingIOError:
            return
        except (OSError, framing.ChannelError):
            data, frames = b"", []
        for kind, payload in frames:
            self._handle(client, kind, payload)
        if not data:
            self.drop(client)

    def _handle(self, client: Client, kind: int, payload: bytes) -> None:
        if kind == framing.HELLO:
            client.subscribed = True
            self.send(client, framing.STATE, *self._owner.describe())
        elif kind == framing.ATTACH:
            client.streams = payload[0] & _STREAMS
            client.no_timeout = bool(payload[0] & NO_TIMEOUT)
            self.send(client, framing.STATE, framing.pack_dict({"ends": True}))
        else:
            self._owner.command(kind, payload)

    def _flush(self, client: Client) -> None:
        try:
            while client.pending:
                sent = client.sock.send(client.pending[: 64 << 10], _socket.MSG_NOSIGNAL)
                del client.pending[:sent]
                client.last_progress = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:  # disconnected; the frames that it sent before are read first, then the end of the stream
            client.write_failed = True
            client.pending.clear()
        if client in self._clients:
            self._watch(client)
        self._reopen()

    def _reopen(self) -> None:
        if self._blocked and all(len(client.pending) < LOW_WATER for client in self._clients):
            self._blocked = False
            self._owner.set_reading(enabled=True)
