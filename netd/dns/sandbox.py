"""A sandbox that the server serves: its sockets, its network namespace and its view."""

from __future__ import annotations

import itertools
import os
import socket
from dataclasses import dataclass, field

from netd.dns.views import SharedView

BUFFER = 1 << 20
"""Bytes of the send and the receive buffer; queries are queued there while a killed server is replaced."""
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_numbers = itertools.count(1)


@dataclass(slots=True, eq=False)
class ServedSandbox:
    """Owns its descriptors.  Before the first view is set, queries stay queued in the sockets."""

    id: str
    udp: socket.socket
    tcp: socket.socket
    netns: int
    shared_view: SharedView | None = None
    burst: int = 1
    """Queries per round: doubled while none is costly, reset when one is."""
    is_costly: bool = False
    """Whether a query of this round was neither answered from a prepared or cached response nor forwarded at once."""
    closed: bool = False
    number: int = field(default_factory=_numbers.__next__)
    """Unlike the id, never reused, so that cached responses do not survive a restart of the container."""

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
