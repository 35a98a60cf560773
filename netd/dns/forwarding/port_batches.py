"""Sending several queries from one port, and receiving several responses at it, with one system call each."""

from __future__ import annotations

import socket
from collections.abc import MutableMapping, Sequence
from typing import TypeVar

from netd.dns.datagrams import Datagrams, errno
from netd.dns.forwarding.random_bytes import RANDOM

MOST = 32
"""Datagrams of one system call."""
_LARGEST = 65535
_STRIDE = 0x10440
"""Bytes of a receive slot: the largest datagram, and an offset, so that slots do not share cache lines."""
_SENT_SIZE = 512
"""Bytes of a send slot."""

T = TypeVar("T")
U = TypeVar("U")


class PortBatches:
    """The buffers, which all ports share."""

    def __init__(self) -> None:
        self._sent = Datagrams(MOST, _SENT_SIZE, has_names=False)
        self._received = Datagrams(MOST, _STRIDE, has_names=False)

    def send(
        self,
        sock: socket.socket,
        queries: Sequence[T],
        questions: Sequence[bytes],
        waiting: MutableMapping[bytes, T | U | None],
    ) -> int:
        """Send *questions*, packets without ids of less than 500 bytes; return how many were sent.

        Each gets an id that is new in *waiting*, where its query is added.
        """
        view, lengths = self._sent.view, self._sent.lengths
        start = slot = 0
        ids = RANDOM.take(2 * len(queries))
        for query, question in zip(queries, questions, strict=True):
            query_id = ids[2 * slot : 2 * slot + 2]
            while query_id in waiting:
                query_id = RANDOM.take(2)
            waiting[query_id] = query
            size = len(question) + 2
            view[start : start + size] = query_id + question
            lengths[slot] = size
            start += _SENT_SIZE
            slot += 1
        sent = max(0, self._sent.send(sock.fileno(), 0, slot))
        for _ in range(slot - sent):
            waiting.popitem()  # The queries that were added last.
        return sent

    def receive(self, sock: socket.socket) -> list[bytes]:
        """Return the packets that have arrived, at most ``MOST``.  Raises OSError if there is none."""
        received = self._received
        count = received.receive(sock.fileno(), MOST)
        if count < 0:
            raise OSError(errno(), "recvmmsg")
        view, sizes = received.view, received.received
        return [bytes(view[slot * _STRIDE : slot * _STRIDE + sizes[slot]]) for slot in range(count)]

    def receive_first(self, sock: socket.socket) -> bytes:
        """Return the next packet.  Raises OSError if there is none."""
        view = self._received.view
        return bytes(view[: sock.recv_into(view, _LARGEST)])


BATCHES = PortBatches()
"""The buffers of this process, which has one thread."""
