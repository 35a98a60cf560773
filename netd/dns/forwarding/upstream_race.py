"""A pending query: upstream servers are queried one after the other until one of them answers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from netd.dns.event_loop import Loop, Timer
from netd.dns.forwarding.case_randomization import mixed, restored, spelled
from netd.dns.forwarding.probes import STEP, Probes, is_probe
from netd.dns.forwarding.reply_checks import code, has_case_of, has_question, is_failure, is_positive, is_whole
from netd.dns.forwarding.upstream_attempts import Attempt, Datagram, Stream, is_shortage, socket_here
from netd.dns.forwarding.upstreams import UpstreamHealth, server_key
from netd.dns.messages.decide import Rcode
from netd.dns.messages.edns_options import has_edns, without_edns, without_hop_options
from netd.dns.messages.message import error_response, question_end
from netd.dns.records import Upstream
from netd.dns.sandbox import ServedSandbox
from netd.kernel.namespaces.netns import socket_in

RETRY_AFTER = 1.0
"""Seconds without a response after which all servers are queried again, in case a datagram was lost."""
DEADLINE = 4.5
"""Seconds after which the client gets SERVFAIL: before the timeout of five seconds of C libraries."""
_PASSED_ON = (Rcode.SERVFAIL, Rcode.FORMERR, Rcode.NOTIMP, Rcode.NOERROR)
"""Upstream error responses that are passed on to the client; C libraries would ignore REFUSED and keep waiting."""

Done: TypeAlias = Callable[["bytes | None", bool], None]
"""Called with the response, if there is one, and whether to cache it as a failure."""
Deliver: TypeAlias = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class PendingQuery:
    """A query to forward."""

    sandbox: ServedSandbox
    upstreams: tuple[Upstream, ...]
    packet: bytes
    stream: bool

    @property
    def cache_key(self) -> Hashable:
        """Return the cache key: network namespace, upstream servers, protocol, and query without id."""
        inside = any(upstream.inside for upstream in self.upstreams)
        return (self.sandbox.number if inside else 0, self.upstreams, self.stream, self.packet[2:])

    @property
    def name_end(self) -> int:
        """Return the offset after the name in the packet without its id."""
        return question_end(self.packet) - 6


class UpstreamRace:
    """Queries upstream servers until one answers, all have failed, or ``DEADLINE`` has passed."""

    def __init__(self, loop: Loop, health: UpstreamHealth, probes: Probes, pending: PendingQuery, done: Done) -> None:
        self.waiting: list[tuple[bytes, Deliver]] = []
        """The clients' queries, which may differ in case, and the callbacks for the response."""
        self._loop = loop
        self._health = health
        self._case_support = health.case_support
        self._probes = probes
        self._pending = pending
        self._question = pending.packet[2:]
        self._name_end = pending.name_end
        self._done = done
        self._attempts: list[Attempt] = []
        self._order: tuple[Upstream, ...] = ()
        self._remaining: deque[Upstream] = deque()
        self._mixed: set[Upstream] = set()
        """Servers that were queried in mixed case."""
        self._without_edns = without_edns(pending.packet)
        self._no_edns: set[Upstream] = set()
        """Servers that do not know EDNS."""
        self._retried = pending.stream
        self._failure: bytes | None = None
        self._finished = False
        self._step: Timer | None = None
        self._deadline = loop.call_later(DEADLINE, partial(self.fail, silence=True))

    def join(self, packet: bytes, deliver: Deliver) -> None:
        """Add a client; *packet* has the same question, whose letters may differ in case."""
        self.waiting.append((packet[2:], deliver))

    def start(self) -> None:
        pending = self._pending
        plan = self._health.plan(pending.sandbox.id, pending.upstreams, time.monotonic())
        self._order = plan.order
        self._remaining.extend(plan.order)
        for upstream in plan.probes:
            self._attempt(upstream)
        self._next()

    def finish(self, reply: bytes | None, silence: bool = False) -> None:
        """End the race and deliver the response, if there is one; *silence*: ``DEADLINE`` has passed."""
        if self._finished:
            return
        self._finished = True
        self._deadline.cancel()
        self._cancel_step()
        for attempt in self._attempts:
            attempt.close()
        self._done(reply, silence)
        if reply is not None:
            for query, deliver in self.waiting:
                deliver(spelled(reply, query, self._name_end))

    def fail(self, silence: bool = False) -> None:
        """End the race with an upstream error response, or SERVFAIL; with *silence* it is cached as a failure."""
        self.finish(self._failure or error_response(self._pending.packet, Rcode.SERVFAIL), silence)

    def _next(self) -> None:
        """Query the next server; fail if none is left and no attempt is pending."""
        self._cancel_step()
        while self._remaining:
            if self._attempt(self._remaining.popleft()):
                self._step = self._loop.call_later(STEP if self._remaining else RETRY_AFTER, self._on_late)
                return
        if not self._attempts:
            self.fail()

    def _cancel_step(self) -> None:
        if self._step is not None:
            self._step.cancel()

    def _attempt(self, upstream: Upstream, plain: bool = False) -> bool:
        sandbox = self._pending.sandbox
        kind = Stream if self._pending.stream else Datagram
        open_socket = partial(socket_in, sandbox.netns) if upstream.inside else socket_here
        question = self._question_for(upstream) if plain else self._with_case(upstream)
        try:
            attempt = kind(self._loop, open_socket, upstream, question, self._on_response)
        except OSError as problem:
            if not is_shortage(problem):
                now = time.monotonic()
                self._health.record_silence(sandbox.id, upstream, now, now)
            return False
        self._attempts.append(attempt)
        return True

    def _with_case(self, upstream: Upstream) -> bytes:
        """Return the query in the case for this server; unchanged over TCP, which cannot be forged off-path."""
        key = server_key(self._pending.sandbox.id, upstream)
        retry = self._retried and not self._case_support.is_confirmed(key)
        question = self._question_for(upstream)
        if self._pending.stream or retry or not self._case_support.is_enabled(key, time.monotonic()):
            return question
        self._mixed.add(upstream)
        return mixed(question, self._name_end)

    def _question_for(self, upstream: Upstream) -> bytes:
        """Return the query without its id; without EDNS for a server that does not know it."""
        if self._without_edns is not None and upstream in self._no_edns:
            return self._without_edns[2:]
        return self._question

    def _on_late(self) -> None:
        for attempt in self._attempts:
            self._probe(attempt)
        if not self._remaining and not self._retried:
            self._retried = True
            self._remaining.extend(self._order)
        self._next()

    def _probe(self, attempt: Attempt) -> None:
        """Probe a server that is late.  A query equal to a probe counts as one, or forwarding loops would not end."""
        if is_probe(self._question):
            self._health.record_silence(self._pending.sandbox.id, attempt.upstream, attempt.begun, time.monotonic())
        else:
            self._probes.probe(self._pending.sandbox, attempt.upstream, attempt.begun)

    def _on_response(self, attempt: Attempt, reply: bytes | None) -> None:
        self._attempts.remove(attempt)
        attempt.close()
        sandbox, now = self._pending.sandbox, time.monotonic()
        if reply is not None:
            self._health.record_response(sandbox.id, attempt.upstream, now)
            if self._accept(attempt, reply, now):
                return
        elif self._pending.stream:
            # A server may close a connection because of a single name.
            self._probe(attempt)
        else:
            self._health.record_silence(sandbox.id, attempt.upstream, now, now)
        self._next()

    def _accept(self, attempt: Attempt, reply: bytes, now: float) -> bool:
        """Finish with the response, or query the same server again, without EDNS or in unchanged case.

        Returns False if the response is unusable.
        """
        if self._does_not_know_edns(attempt, reply):
            self._no_edns.add(attempt.upstream)
            return self._attempt(attempt.upstream)
        if self._needs_plain_case(attempt, reply, now):
            return self._attempt(attempt.upstream, plain=True)
        if not is_whole(reply):
            return False
        reply = without_hop_options(reply)
        restored_reply = restored(reply[2:], attempt.query[2:], self._question, self._name_end)
        if not is_failure(reply):
            self.finish(restored_reply)
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
        refused = code(reply) in (Rcode.FORMERR, Rcode.NOTIMP) and not has_edns(reply)
        return refused and self._without_edns is not None and attempt.upstream not in self._no_edns

    def _needs_plain_case(self, attempt: Attempt, reply: bytes, now: float) -> bool:
        """Update the server's support of mixed case; return True if it must be queried again in unchanged case."""
        key = server_key(self._pending.sandbox.id, attempt.upstream)
        if attempt.query[2:] == self._question_for(attempt.upstream):
            if attempt.upstream in self._mixed and is_positive(reply) and not self._case_support.is_confirmed(key):
                self._case_support.disable(key, now)
            return False
        if not has_case_of(attempt.query, reply):
            self._case_support.disable(key, now)
            return True
        if is_positive(reply):
            self._case_support.confirm(key)
            return False
        return not self._case_support.is_confirmed(key)
