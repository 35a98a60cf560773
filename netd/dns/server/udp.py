"""DNS over UDP.

A container is served once per round of the event loop, with few queries if they are not answered from prepared
responses: each container that floods delays the others by a fraction of a millisecond.
"""

from __future__ import annotations

from functools import partial

from netd.dns.dns_counters import DnsCounters
from netd.dns.event_loop import READ, Loop
from netd.dns.sandbox import ServedSandbox
from netd.dns.server.batch import SLOTS, Batch
from netd.dns.server.respond import Responder

_SMALL_BURST = 6
"""Queries per round of a container with one that was not answered from prepared responses nor forwarded at once."""


class UdpServer:
    """The UDP side of all sandboxes."""

    def __init__(self, loop: Loop, responder: Responder, counters: DnsCounters) -> None:
        self._loop = loop
        self._outcomes = counters.outcomes
        self._responder = responder
        self._batch = Batch()

    def open(self, sandbox: ServedSandbox) -> None:
        otherwise = partial(self._responder.respond_datagram, sandbox)
        fd = sandbox.udp.fileno()

        def on_readable(events: int) -> None:
            shared_view = sandbox.shared_view
            if shared_view is not None:
                sandbox.is_costly = False
                count, misses = self._batch.serve(fd, sandbox.burst, shared_view.prepared, otherwise)
                self._outcomes["records"] += count - misses
                sandbox.burst = _SMALL_BURST if sandbox.is_costly else min(SLOTS, sandbox.burst * 2)

        self._loop.watch(fd, READ, on_readable)

    def close(self, sandbox: ServedSandbox) -> None:
        self._loop.unwatch(sandbox.udp.fileno())
