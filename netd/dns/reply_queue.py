"""Responses over UDP that are ready after their query's round: those of a round are sent with one call per sandbox."""

from __future__ import annotations

import socket
import struct

from netd.dns.datagrams import NAME, Datagrams
from netd.dns.event_loop import Loop
from netd.dns.sandbox import ServedSandbox

_SLOTS = 32
_SLOT = 2048
CLIENT = NAME + 2
"""Bytes that identify a client's query: its struct sockaddr_in and the query's id."""


class ReplyQueue:
    """Sends at the end of the round; a response that the kernel rejects is dropped: the client retries."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._datagrams = Datagrams(_SLOTS, _SLOT, has_names=True)
        self._queues: dict[ServedSandbox, list[tuple[bytes, bytes]]] = {}

    def add(self, sandbox: ServedSandbox, client: bytes, reply: bytes) -> None:
        """Send *reply*, without its id, to a client: a struct sockaddr_in followed by the id."""
        queue = self._queues.get(sandbox)
        if queue is None:
            if not self._queues:
                self._loop.call_soon(self._send)
            queue = self._queues[sandbox] = []
        queue.append((client, reply))

    def _send(self) -> None:
        queues, self._queues = self._queues, {}
        for sandbox, queue in queues.items():
            if sandbox.closed:
                continue
            for begin in range(0, len(queue), _SLOTS):
                self._send_batch(sandbox.udp, queue[begin : begin + _SLOTS])

    def _send_batch(self, sock: socket.socket, replies: list[tuple[bytes, bytes]]) -> None:
        datagrams = self._datagrams
        view, names, lengths = datagrams.view, datagrams.names, datagrams.lengths
        slot = 0
        for client, reply in replies:
            size = len(reply) + 2
            if size > _SLOT:
                _send_large(sock, client, reply)
                continue
            start = slot * _SLOT
            names[slot * NAME : slot * NAME + NAME] = client[:NAME]
            view[start : start + size] = client[NAME:] + reply
            lengths[slot] = size
            slot += 1
        datagrams.send_all(sock.fileno(), 0, slot)


def _send_large(sock: socket.socket, client: bytes, reply: bytes) -> None:
    port, address = struct.unpack_from("!2xH4s", client)
    try:
        sock.sendto(client[NAME:] + reply, (socket.inet_ntoa(address), port))
    except OSError:
        pass
