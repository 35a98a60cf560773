"""One container as the server knows it: its sockets, its namespace and what it sees."""

from __future__ import annotations

import itertools
import os
import socket
from dataclasses import dataclass, field

from netd.dns.views import SharedView

BUFFER = 1 << 20
"""Bytes of socket buffer each way: questions wait there while a killed server is replaced."""
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_numbers = itertools.count(1)


@dataclass(slots=True, eq=False)
class ServedSandbox:
    """Owns its descriptors.  It is served from its first view on; until then questions wait in the sockets."""

    id: str
    udp: socket.socket
    tcp: socket.socket
    netns: int
    scope: SharedView | None = None
    burst: int = 1
    """How many questions it may ask per turn: grows while they are answered from memory, shrinks when not."""
    closed: bool = False
    number: int = field(default_factory=_numbers.__next__)
    """Unlike the id it is never used again, so that nothing is kept for a container's next life."""

    def prepare(self) -> None:
        self.udp.setblocking(False)
        self.tcp.setblocking(False)
        self.udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
        self.udp.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, BUFFER)

    def descriptors(self) -> tuple[int, int, int]:
        return self.udp.fileno(), self.tcp.fileno(), self.netns

    def close(self) -> None:
        self.closed = True
        self.udp.close()
        self.tcp.close()
        os.close(self.netns)
