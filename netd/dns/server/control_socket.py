"""The server's end of the private socket: what netd says is done here, in order.

One netd speaks at a time: whoever says hello takes the place of the one before, which may have hung.  When it
leaves, everything stays as it was last said to be.
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
from netd.dns.protocol import Message, Pipe
from netd.dns.server.service import DnsServer

log = logging.getLogger(__name__)

_NO_ROOM_PAUSE = 0.1
"""Seconds without accepting after the descriptors have run out."""


class ControlSocket:
    """Accepts netd on a listening socket and serves it."""

    def __init__(self, loop: Loop, listener: socket.socket, service: DnsServer, version: str) -> None:
        self._loop = loop
        self._listener = listener
        self._service = service
        self._version = version
        self._speaker: Pipe | None = None
        listener.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        self._loop.watch(self._listener.fileno(), READ, self._accept)

    def _listen_again(self) -> None:
        try:
            self._listen()
        except OSError:
            self._loop.later(_NO_ROOM_PAUSE, self._listen_again)

    def _accept(self, events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            self._loop.forget(self._listener.fileno())
            self._loop.later(_NO_ROOM_PAUSE, self._listen_again)
            return
        if not _is_ours(sock):
            log.warning("event=stranger-refused")
            sock.close()
            return
        self._watch(Pipe(sock), sent_all=True)

    def _leave(self, pipe: Pipe) -> None:
        self._loop.forget(pipe.sock.fileno())
        pipe.close()
        if pipe is self._speaker:
            self._speaker = None

    def _ready(self, pipe: Pipe, events: int) -> None:
        try:
            if events & WRITE:
                self._watch(pipe, pipe.push())
            if events & (READ | select.EPOLLHUP):
                for message, descriptors in pipe.receive():
                    self._hear(pipe, message, descriptors)
        except (EOFError, OSError, ValueError) as problem:
            if pipe is self._speaker:
                log.info("event=netd-left reason=%s", problem)
            self._leave(pipe)

    def _hear(self, pipe: Pipe, message: Message, descriptors: Sequence[int]) -> None:
        if isinstance(message, protocol.Hello):
            if self._speaker is not None and self._speaker is not pipe:
                self._leave(self._speaker)
            self._speaker = pipe
            self._greet()
        elif pipe is self._speaker:
            try:
                self._obey(message, descriptors)
            except OSError:
                raise  # netd connects again and says it all anew
            except Exception:
                log.exception("event=message-failed kind=%s", type(message).__name__)
        else:
            for descriptor in descriptors:
                os.close(descriptor)
            raise ValueError("hello comes first")

    def _say(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        if self._speaker is not None:
            self._speaker.queue(message, descriptors)
            if not self._speaker.push():
                self._watch(self._speaker, sent_all=False)

    def _watch(self, pipe: Pipe, sent_all: bool) -> None:
        self._loop.watch(pipe.sock.fileno(), READ if sent_all else READ | WRITE, partial(self._ready, pipe))

    def _obey(self, message: Message, descriptors: Sequence[int]) -> None:
        service = self._service
        match message:
            case protocol.SetNetwork(network, records):
                service.scopes.set_network(network, records)
            case protocol.PatchNetwork(network, patch):
                service.scopes.patch_network(network, patch)
            case protocol.DropNetwork(network):
                service.scopes.drop_network(network)
            case protocol.SetView(sandbox, view):
                service.set_view(sandbox, view)
            case protocol.OpenSandbox(sandbox):
                service.open(sandbox, descriptors)
            case protocol.CloseSandbox(sandbox):
                service.close(sandbox)
            case protocol.Sync(number):
                self._say(protocol.Synced(number))
            case protocol.Stop():
                self._loop.stop()
            case _:
                raise ValueError(f"unexpected {type(message).__name__}")

    def _greet(self) -> None:
        self._say(protocol.Welcome(self._version, tuple(self._service.scopes.networks)))
        for sandbox in self._service.sandboxes():
            self._say(protocol.Held(sandbox.id), sandbox.descriptors())
        self._say(protocol.Ready())


def _is_ours(sock: socket.socket) -> bool:
    """Whether the peer runs as the user that we run as, which is root; the socket's mode already says the same."""
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(uid == os.geteuid())
