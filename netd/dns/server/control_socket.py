"""The server's end of the control socket: applies the messages of netd in order.

One client is active at a time: a Hello closes the connection of the previous client, which may hang.  After a client
has disconnected, records and views stay as they are.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
from collections.abc import Sequence
from functools import partial

from netd.dns import protocol
from netd.dns.event_loop import READ, WRITE, Loop
from netd.dns.protocol import Message, MessageSocket
from netd.dns.server.service import DnsServer

log = logging.getLogger(__name__)

_NO_ROOM_PAUSE = 0.1
"""Seconds without accepting connections after the descriptors have run out."""


class ControlSocket:
    """Accepts netd on a listening socket and serves it."""

    def __init__(self, loop: Loop, listener: socket.socket, service: DnsServer, version: str) -> None:
        self._loop = loop
        self._listener = listener
        self._service = service
        self._version = version
        self._client: MessageSocket | None = None
        listener.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        self._loop.watch(self._listener.fileno(), READ, self._accept)

    def _listen_again(self) -> None:
        try:
            self._listen()
        except OSError:
            self._loop.call_later(_NO_ROOM_PAUSE, self._listen_again)

    def _accept(self, events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            self._loop.unwatch(self._listener.fileno())
            self._loop.call_later(_NO_ROOM_PAUSE, self._listen_again)
            return
        if not _is_same_user(sock):
            log.warning("connection of another user refused")
            sock.close()
            return
        self._watch(MessageSocket(sock), sent_all=True)

    def _close(self, connection: MessageSocket) -> None:
        self._loop.unwatch(connection.sock.fileno())
        connection.close()
        if connection is self._client:
            self._client = None

    def _ready(self, connection: MessageSocket, events: int) -> None:
        try:
            if events & WRITE:
                self._watch(connection, connection.push())
            if events & (READ | select.EPOLLHUP):
                for message, descriptors in connection.receive():
                    self._handle(connection, message, descriptors)
        except (EOFError, OSError, ValueError) as problem:
            if connection is self._client:
                log.info("netd disconnected: error=%s", problem)
            self._close(connection)

    def _handle(self, connection: MessageSocket, message: Message, descriptors: Sequence[int]) -> None:
        if isinstance(message, protocol.Hello):
            if self._client is not None and self._client is not connection:
                self._close(self._client)
            self._client = connection
            self._welcome()
        elif connection is self._client:
            try:
                self._apply(message, descriptors)
            except OSError:
                raise  # netd reconnects and sends all state again
            except Exception:
                log.exception("message failed: kind=%s", type(message).__name__)
        else:
            for descriptor in descriptors:
                os.close(descriptor)
            raise ValueError("the first message must be Hello")

    def _send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        if self._client is not None:
            self._client.queue(message, descriptors)
            if not self._client.push():
                self._watch(self._client, sent_all=False)

    def _watch(self, connection: MessageSocket, sent_all: bool) -> None:
        self._loop.watch(connection.sock.fileno(), READ if sent_all else READ | WRITE, partial(self._ready, connection))

    def _apply(self, message: Message, descriptors: Sequence[int]) -> None:
        service = self._service
        match message:
            case protocol.SetNetwork(network, records):
                service.views.set_network(network, records)
            case protocol.PatchNetwork(network, patch):
                service.views.patch_network(network, patch)
            case protocol.DropNetwork(network):
                service.views.drop_network(network)
            case protocol.SetView(sandbox, view):
                service.set_view(sandbox, view)
            case protocol.OpenSandbox(sandbox):
                service.open(sandbox, descriptors)
            case protocol.CloseSandbox(sandbox):
                service.close(sandbox)
            case protocol.Configure(low_latency):
                self._loop.low_latency.enable(low_latency)
            case protocol.Sync(number):
                self._send(protocol.Synced(number, service.counters.snapshot()))
            case protocol.Stop():
                self._loop.stop()
            case _:
                raise ValueError(f"unexpected {type(message).__name__}")

    def _welcome(self) -> None:
        self._send(protocol.Welcome(self._version, tuple(self._service.views.networks)))
        for sandbox in self._service.sandboxes():
            self._send(protocol.Held(sandbox.id), sandbox.descriptors())
        self._send(protocol.Ready())


def _is_same_user(sock: socket.socket) -> bool:
    """Return True if the peer runs as the same user (root); the mode of the socket already ensures it."""
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(uid == os.geteuid())
