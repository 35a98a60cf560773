"""DNS over UDP.

A container is served once per round of the event loop, with few queries if they are not answered from prepared
responses: each container that floods delays the others by a fraction of a millisecond.
"""

from __future__ import annotations

from functools import partial

from netd.dns.dns_counters import DnsCounters
from netd.dns.event_loop import READ, Loop
from netd.dns.sandbox import ServedSandbox
from netd.dns.server.batch import SLOTS, Address, Batch
from netd.dns.server.respond import Responder

_SMALL_BURST = 6
"""Queries per round of a container whose last ones were not all answered from prepared responses."""


class UdpServer:
    """The UDP side of all sandboxes."""

    def __init__(self, loop: Loop, responder: Responder, counters: DnsCounters) -> None:
        self._loop = loop
        self._outcomes = counters.outcomes
        self._responder = responder
        self._batch = Batch()

    def open(self, sandbox: ServedSandbox) -> None:
        otherwise = partial(self._otherwise, sandbox)
        fd = sandbox.udp.fileno()

        def on_readable(events: int) -> None:
            shared_view = sandbox.shared_view
            if shared_view is not None:
                count, misses = self._batch.serve(fd, sandbox.burst, shared_view.prepared, otherwise)
                self._outcomes["records"] += count - misses
                sandbox.burst = _SMALL_BURST if misses else min(SLOTS, sandbox.burst * 2)

        self._loop.watch(fd, READ, on_readable)

    def close(self, sandbox: ServedSandbox) -> None:
        self._loop.unwatch(sandbox.udp.fileno())

    def _otherwise(self, sandbox: ServedSandbox, packet: bytes, sender: Address) -> bytes | None:
        return self._responder.respond(sandbox, packet, False, partial(_deliver, sandbox, sender, packet[:2]))


def _deliver(sandbox: ServedSandbox, sender: Address, query_id: bytes, reply: bytes) -> None:
    if sandbox.closed:
        return
    try:
        sandbox.udp.sendto(query_id + reply, sender)
    except OSError:
        pass  # the client retries, as after a lost datagram
