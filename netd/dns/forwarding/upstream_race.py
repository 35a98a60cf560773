"""A pending query: upstream servers are queried one after the other until one of them answers."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from netd.dns.event_loop import Loop, Timer
from netd.dns.forwarding.case_randomization import mixed, restored, spelled
from netd.dns.forwarding.delay_queue import DelayQueue
from netd.dns.forwarding.port_table import PortTable
from netd.dns.forwarding.probes import STEP, Probes, is_probe
from netd.dns.forwarding.reply_checks import code, has_case_of, has_question, is_failure, is_partial, is_positive
from netd.dns.forwarding.udp_ports import Port, UdpPorts, is_shortage
from netd.dns.forwarding.upstream_attempts import Attempt, Datagram, Stream, stream_here
from netd.dns.forwarding.upstreams import UpstreamHealth, server_key
from netd.dns.messages.decide import Rcode
from netd.dns.messages.edns_options import has_edns, without_edns, without_hop_options
from netd.dns.messages.message import PLAIN_OPT, error_response, question_end
from netd.dns.messages.rr_scan import RecordPosition, RecordType, all_records
from netd.dns.records import Upstream
from netd.dns.sandbox import ServedSandbox
from netd.kernel.namespaces.netns import socket_in

RETRY_AFTER = 1.0
"""Seconds without a response after which all servers are queried again, in case a datagram was lost."""
DEADLINE = 4.5
"""Seconds after which the client gets SERVFAIL: before the timeout of five seconds of C libraries."""
_NO_RECORDS = bytes(2)
_PASSED_ON = (Rcode.SERVFAIL, Rcode.FORMERR, Rcode.NOTIMP, Rcode.NOERROR)
"""Upstream error responses that are passed on to the client; C libraries would ignore REFUSED and keep waiting."""

Done: TypeAlias = Callable[["UpstreamRace", "bytes | None", bool, "Sequence[RecordPosition] | None"], None]
"""Called with the race, the response, if there is one, whether to cache it as a failure, and the positions of its
records, if they are known."""
Deliver: TypeAlias = Callable[[bytes], None]


class PendingQuery:
    """A query to forward."""

    __slots__ = ("cache_key", "is_plain", "name_end", "packet", "question", "sandbox", "stream", "upstreams")

    def __init__(
        self,
        sandbox: ServedSandbox,
        upstreams: tuple[Upstream, ...],
        packet: bytes,
        stream: bool,
        prefix: bytes,
        is_plain: bool = False,
    ) -> None:
        """*prefix*: as in ``CachePrefixes``.

        *is_plain*: *packet* is known to be a query with at most an OPT record without options.
        """
        self.sandbox = sandbox
        self.upstreams = upstreams
        self.packet = packet
        self.stream = stream
        self.question = packet[2:]
        """The packet without its id."""
        self.is_plain = is_plain
        self.name_end = (len(packet) - PLAIN_OPT * packet[11] if is_plain else question_end(packet)) - 6
        """The offset after the name in ``question``."""
        self.cache_key = prefix + self.question


class RaceContext:
    """What all races share."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.health = UpstreamHealth()
        self.ports = PortTable(loop)
        self.probes = Probes(loop, self.health, self.ports)
        self.deadlines: DelayQueue[UpstreamRace] = DelayQueue(loop, DEADLINE, lambda race: race.fail(silence=True))
        self.steps: DelayQueue[UpstreamRace] = DelayQueue(loop, STEP, UpstreamRace.on_late)
        self.retries: DelayQueue[UpstreamRace] = DelayQueue(loop, RETRY_AFTER, UpstreamRace.on_late)

    def forget(self, sandbox: str) -> None:
        """Drop what belongs to a sandbox that is being deleted."""
        self.probes.forget(sandbox)
        self.ports.forget(sandbox)
        self.health.forget(sandbox)


class UpstreamRace:
    """Queries upstream servers until one answers, all have failed, or ``DEADLINE`` has passed."""

    __slots__ = (
        "_attempts", "_context", "_done", "_failure", "_finished", "_mixed", "_no_edns", "_order", "_pending", "_queue",
        "_remaining", "_retried", "_timer", "_without_edns", "waiting",
    )  # fmt: skip

    def __init__(self, context: RaceContext, pending: PendingQuery, done: Done) -> None:
        self.waiting: list[tuple[bytes, Deliver]] = []
        """The clients' queries, which may differ in case, and the callbacks for the response."""
        self._context = context
        self._pending = pending
        self._done = done
        self._attempts: list[Attempt] = []
        self._order: tuple[Upstream, ...] = ()
        self._remaining: deque[Upstream] = deque()
        self._mixed: set[Upstream] = set()
        """Servers that were queried in mixed case."""
        self._without_edns = without_edns(pending.packet) if pending.packet[11] else None
        self._no_edns: set[Upstream] = set()
        """Servers that do not know EDNS."""
        self._retried = pending.stream
        self._failure: bytes | None = None
        self._finished = False
        self._timer: Timer | None = None
        """The deadline of a race that has adopted an attempt."""
        self._queue: DelayQueue[UpstreamRace] | None = None
        """The queue of the current step."""
        context.deadlines.add(self)

    def join(self, packet: bytes, deliver: Deliver) -> None:
        """Add a client; *packet* has the same question, whose letters may differ in case."""
        self.waiting.append((packet[2:], deliver))

    def start(self) -> None:
        pending = self._pending
        if len(pending.upstreams) == 1 and not pending.stream and not self._context.health.has_suspects:
            # The most frequent case, without a plan.
            self._order = pending.upstreams
            if self._attempt(pending.upstreams[0]):
                self._queue = self._context.retries
                self._queue.add(self)
            else:
                self.fail()
            return
        plan = self._context.health.plan(pending.sandbox.id, pending.upstreams, time.monotonic())
        self._order = plan.order
        self._remaining.extend(plan.order)
        for upstream in plan.probes:
            self._attempt(upstream)
        self._next()

    def adopt(self, ports: UdpPorts, port: Port, packet: bytes, begun: float) -> Datagram:
        """Start with an attempt made before: *packet* was sent to the first server, in mixed case, at *begun*."""
        self._begin_after_first()
        end, upstream = self._pending.name_end + 6, self._order[0]
        attempt = Datagram.of_sent(ports, port, upstream, packet, end, begun, self._on_response)
        self._attempts.append(attempt)
        self._queue = self._context.steps if self._remaining else self._context.retries
        self._queue.add(self)
        self._context.deadlines.remove(self)
        seconds = max(0.0, begun + DEADLINE - time.monotonic())
        self._timer = self._context.loop.call_later(seconds, partial(self.fail, silence=True))
        return attempt

    def refused(self) -> None:
        """Start after an ICMP error in response to an attempt with the first server that was made before."""
        self._begin_after_first()
        now = time.monotonic()
        self._context.health.record_silence(self._pending.sandbox.id, self._order[0], now, now)
        self._next()

    def _begin_after_first(self) -> None:
        self._order = self._pending.upstreams
        self._remaining.extend(self._order[1:])
        self._mixed.add(self._order[0])

    def finish(
        self, reply: bytes | None, silence: bool = False, positions: Sequence[RecordPosition] | None = None
    ) -> None:
        """End the race and deliver the response, if there is one; *silence*: ``DEADLINE`` has passed.

        *positions* are those of the response's records, if they are known.
        """
        if self._finished:
            return
        self._finished = True
        self._context.deadlines.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        self._cancel_step()
        for attempt in self._attempts:
            attempt.close()
        self._done(self, reply, silence, positions)
        if reply is not None:
            for query, deliver in self.waiting:
                deliver(spelled(reply, query, self._pending.name_end))

    def fail(self, silence: bool = False) -> None:
        """End the race with an upstream error response, or SERVFAIL; with *silence* it is cached as a failure."""
        self.finish(self._failure or error_response(self._pending.packet, Rcode.SERVFAIL), silence)

    def _next(self) -> None:
        """Query the next server; fail if none is left and no attempt is pending."""
        self._cancel_step()
        while self._remaining:
            if self._attempt(self._remaining.popleft()):
                self._queue = self._context.steps if self._remaining else self._context.retries
                self._queue.add(self)
                return
        if not self._attempts:
            self.fail()

    def _cancel_step(self) -> None:
        if self._queue is not None:
            self._queue.remove(self)
            self._queue = None

    def _attempt(self, upstream: Upstream, plain: bool = False) -> bool:
        sandbox = self._pending.sandbox
        question = self._question_for(upstream) if plain else self._with_case(upstream)
        attempt: Attempt
        try:
            if self._pending.stream:
                open_stream = partial(_stream_in, sandbox.netns) if upstream.inside else stream_here
                attempt = Stream(self._context.loop, open_stream, upstream, question, self._on_response)
            else:
                ports = self._context.ports.of(sandbox, upstream)
                attempt = Datagram(ports, upstream, question, self._pending.name_end + 6, self._on_response)
        except OSError as problem:
            if not is_shortage(problem):
                now = time.monotonic()
                self._context.health.record_silence(sandbox.id, upstream, now, now)
            return False
        self._attempts.append(attempt)
        return True

    def _with_case(self, upstream: Upstream) -> bytes:
        """Return the query in the case for this server; unchanged over TCP, which cannot be forged off-path."""
        support = self._context.health.case_support
        key = server_key(self._pending.sandbox.id, upstream)
        question = self._question_for(upstream) if self._no_edns else self._pending.question
        if (
            self._pending.stream
            or (self._retried and not support.is_confirmed(key))
            or not support.is_enabled(key, time.monotonic())
        ):
            return question
        self._mixed.add(upstream)
        return mixed(question, self._pending.name_end)

    def _question_for(self, upstream: Upstream) -> bytes:
        """Return the query without its id; without EDNS for a server that does not know it."""
        if self._no_edns and self._without_edns is not None and upstream in self._no_edns:
            return self._without_edns[2:]
        return self._pending.question

    def on_late(self) -> None:
        """Continue after a step without a response."""
        for attempt in self._attempts:
            self._probe(attempt)
        if not self._remaining and not self._retried:
            self._retried = True
            self._remaining.extend(self._order)
        self._next()

    def _probe(self, attempt: Attempt) -> None:
        """Probe a server that is late.  A query equal to a probe counts as one, or forwarding loops would not end."""
        sandbox = self._pending.sandbox
        if is_probe(self._pending.question):
            now = time.monotonic()
            self._context.health.record_silence(sandbox.id, attempt.upstream, attempt.begun, now)
        else:
            self._context.probes.probe(sandbox, attempt.upstream, attempt.begun)

    def _on_response(self, attempt: Attempt, reply: bytes | None) -> None:
        self._attempts.remove(attempt)
        attempt.close()
        sandbox, now = self._pending.sandbox, time.monotonic()
        if reply is not None:
            if attempt.is_exact and self._accept_answer(attempt, reply, now):
                return
            self._context.health.record_response(sandbox.id, attempt.upstream, now)
            if self._accept(attempt, reply, now):
                return
        elif self._pending.stream:
            # A server may close a connection because of a single name.
            self._probe(attempt)
        else:
            self._context.health.record_silence(sandbox.id, attempt.upstream, now, now)
        self._next()

    def _accept_answer(self, attempt: Attempt, reply: bytes, now: float) -> bool:
        """Finish with the most frequent response: whole, with answer records, and from a server known to keep case.

        Returns False for all others.
        """
        if reply[3] & 15 or reply[6:8] == _NO_RECORDS or is_partial(reply):
            return False
        key = server_key(self._pending.sandbox.id, attempt.upstream)
        if not self._context.health.case_support.is_confirmed(key):
            return False
        pending = self._pending
        positions = all_records(reply, pending.name_end + 6)
        if positions is None or any([record[0] == RecordType.OPT for record in positions]):
            return False
        self._context.health.record_response_of(key, now)
        reply = restored(reply[2:], attempt.query[2:], pending.question, pending.name_end)
        self.finish(reply, positions=positions)
        return True

    def _accept(self, attempt: Attempt, reply: bytes, now: float) -> bool:
        """Finish with the response, or query the same server again, without EDNS or in unchanged case.

        Returns False if the response is unusable.
        """
        if self._does_not_know_edns(attempt, reply):
            self._no_edns.add(attempt.upstream)
            return self._attempt(attempt.upstream)
        if self._needs_plain_case(attempt, reply, now):
            return self._attempt(attempt.upstream, plain=True)
        pending = self._pending
        positions = None
        if not is_partial(reply):
            positions = all_records(reply, pending.name_end + 6)
            if positions is None:
                return False
        if reply[11] and (shorter := without_hop_options(reply)) is not reply:
            reply, positions = shorter, None
        restored_reply = restored(reply[2:], attempt.query[2:], pending.question, pending.name_end)
        if not is_failure(reply):
            self.finish(restored_reply, positions=positions)
            return True
        if (
            code(reply) in _PASSED_ON
            and has_question(reply)
            and (self._failure is None or code(reply) == Rcode.SERVFAIL)
        ):
            self._failure = restored_reply
        return False

    def _does_not_know_edns(self, attempt: Attempt, reply: bytes) -> bool:
        """Return True for FORMERR or NOTIMP without an OPT record to a query with EDNS (RFC 6891, section 7)."""
        if code(reply) not in (Rcode.FORMERR, Rcode.NOTIMP) or has_edns(reply):
            return False
        return self._without_edns is not None and attempt.upstream not in self._no_edns

    def _needs_plain_case(self, attempt: Attempt, reply: bytes, now: float) -> bool:
        """Update the server's support of mixed case; return True if it must be queried again in unchanged case."""
        support = self._context.health.case_support
        key = server_key(self._pending.sandbox.id, attempt.upstream)
        if attempt.upstream not in self._mixed or attempt.query[2:] == self._question_for(attempt.upstream):
            if attempt.upstream in self._mixed and is_positive(reply) and not support.is_confirmed(key):
                support.disable(key, now)
            return False
        if not (attempt.is_exact or has_case_of(attempt.query, reply)):
            support.disable(key, now)
            return True
        if is_positive(reply):
            support.confirm(key)
            return False
        return not support.is_confirmed(key)


def _stream_in(netns: int, family: int) -> socket.socket:
    sock = socket_in(netns, family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock
