"""Questions over UDP.

A container gets one turn per round of the loop, and a turn is short when its questions need work, so that one that
floods delays the others by a fraction of a millisecond for each that floods.
"""

from __future__ import annotations

from functools import partial

from netd.dns.event_loop import READ, Loop
from netd.dns.sandbox import ServedSandbox
from netd.dns.server.batch import SLOTS, Address, Batch
from netd.dns.server.respond import Responder

_CAUTIOUS = 4
"""Questions per turn of a container whose last ones were not all answered from memory."""


class UdpServer:
    """The UDP side of all sandboxes."""

    def __init__(self, loop: Loop, responder: Responder) -> None:
        self._loop = loop
        self._responder = responder
        self._batch = Batch()

    def open(self, sandbox: ServedSandbox) -> None:
        otherwise = partial(self._otherwise, sandbox)
        fd = sandbox.udp.fileno()

        def turn(events: int) -> None:
            scope = sandbox.scope
            if scope is not None:
                misses = self._batch.serve(fd, sandbox.burst, scope.prepared, otherwise)
                sandbox.burst = _CAUTIOUS if misses else min(SLOTS, sandbox.burst * 2)

        self._loop.watch(fd, READ, turn)

    def close(self, sandbox: ServedSandbox) -> None:
        self._loop.forget(sandbox.udp.fileno())

    def _otherwise(self, sandbox: ServedSandbox, packet: bytes, sender: Address) -> bytes | None:
        return self._responder.respond(sandbox, packet, False, partial(_deliver, sandbox, sender, packet[:2]))


def _deliver(sandbox: ServedSandbox, sender: Address, query_id: bytes, reply: bytes) -> None:
    if sandbox.closed:
        return
    try:
        sandbox.udp.sendto(query_id + reply, sender)
    except OSError:
        pass  # as any datagram it may be lost; the asker asks again
