"""One question under way: resolvers are asked one after the other, and the first answer counts for all who wait."""

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
from netd.dns.forwarding.upstreams import UpstreamHealth, server
from netd.dns.messages.decide import Code
from netd.dns.messages.message import question_end, refuse
from netd.dns.records import Upstream
from netd.dns.sandbox import ServedSandbox
from netd.kernel.namespaces.netns import socket_in

PATIENCE = 1.0
"""Seconds without a reply after which those that were asked are asked again, in case a datagram was lost."""
DEADLINE = 4.5
"""Seconds after which the asker gets SERVFAIL: before the five seconds at which C libraries stop listening."""
_PASSED_ON = (Code.SERVFAIL, Code.FORMERR, Code.NOTIMP, Code.NOERROR)
"""Failures that say more to the asker than a SERVFAIL of ours; C libraries wait for more after REFUSED."""

Done: TypeAlias = Callable[["bytes | None", bool], None]
"""Called with the reply, if there is one, and whether it is a failure to remember."""
Deliver: TypeAlias = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class PendingQuery:
    sandbox: ServedSandbox
    upstreams: tuple[Upstream, ...]
    packet: bytes
    stream: bool

    @property
    def place(self) -> Hashable:
        """Return what decides on the answer: the resolvers, from where they are asked, how, and the query."""
        inside = any(upstream.inside for upstream in self.upstreams)
        return (self.sandbox.number if inside else 0, self.upstreams, self.stream, self.packet[2:])

    @property
    def name_end(self) -> int:
        """Return where the name ends in the packet without its id."""
        return question_end(self.packet) - 6


class UpstreamRace:
    """Asks until there is an answer, everybody has failed, or it takes too long."""

    def __init__(self, loop: Loop, health: UpstreamHealth, probes: Probes, errand: PendingQuery, done: Done) -> None:
        self.waiting: list[tuple[bytes, Deliver]] = []
        """Queries, which may differ in case, and who is to get the reply."""
        self._loop = loop
        self._health = health
        self._casing = health.casing
        self._probes = probes
        self._errand = errand
        self._question = errand.packet[2:]
        self._name_end = errand.name_end
        self._done = done
        self._attempts: list[Attempt] = []
        self._order: tuple[Upstream, ...] = ()
        self._left: deque[Upstream] = deque()
        self._mixed: set[Upstream] = set()
        """Who was asked in mixed case."""
        self._asked_once = errand.stream
        self._failure: bytes | None = None
        self._finished = False
        self._step: Timer | None = None
        self._deadline = loop.later(DEADLINE, partial(self.fail, silence=True))

    def join(self, packet: bytes, deliver: Deliver) -> None:
        """Wait for the answer; *packet* asks the same question, in letters of any case."""
        self.waiting.append((packet[2:], deliver))

    def start(self) -> None:
        errand = self._errand
        course = self._health.course(errand.sandbox.id, errand.upstreams, time.monotonic())
        self._order = course.order
        self._left.extend(course.order)
        for upstream in course.probes:
            self._attempt(upstream)
        self._next()

    def finish(self, reply: bytes | None, silence: bool = False) -> None:
        """End it and give all who wait the reply, if there is one; *silence* is why it is a failure."""
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
        """End it with the most telling failure."""
        self.finish(self._failure or refuse(self._errand.packet, Code.SERVFAIL), silence)

    def _next(self) -> None:
        """Ask the next resolver that can be asked; with none left and nobody asked, the question has failed."""
        self._cancel_step()
        while self._left:
            if self._attempt(self._left.popleft()):
                self._step = self._loop.later(STEP if self._left else PATIENCE, self._late)
                return
        if not self._attempts:
            self.fail()

    def _cancel_step(self) -> None:
        if self._step is not None:
            self._step.cancel()

    def _attempt(self, upstream: Upstream, plain: bool = False) -> bool:
        sandbox = self._errand.sandbox
        kind = Stream if self._errand.stream else Datagram
        place = partial(socket_in, sandbox.netns) if upstream.inside else socket_here
        question = self._question if plain else self._spelled(upstream)
        try:
            attempt = kind(self._loop, place, upstream, question, self._heard)
        except OSError as problem:
            if not is_shortage(problem):
                now = time.monotonic()
                self._health.silent(sandbox.id, upstream, now, now)
            return False
        self._attempts.append(attempt)
        return True

    def _spelled(self, upstream: Upstream) -> bytes:
        """Return the question as this resolver is to be asked; on a connection nobody else can answer."""
        key = server(self._errand.sandbox.id, upstream)
        again = self._asked_once and not self._casing.is_proved(key)
        if self._errand.stream or again or not self._casing.may_mix(key, time.monotonic()):
            return self._question
        self._mixed.add(upstream)
        return mixed(self._question, self._name_end)

    def _late(self) -> None:
        for attempt in self._attempts:
            self._doubt(attempt)
        if not self._left and not self._asked_once:
            self._asked_once = True
            self._left.extend(self._order)
        self._next()

    def _doubt(self, attempt: Attempt) -> None:
        """A question for the root is as good as a probe, which would go round for ever in a circle of resolvers."""
        if is_probe(self._question):
            self._health.silent(self._errand.sandbox.id, attempt.upstream, attempt.begun, time.monotonic())
        else:
            self._probes.doubt(self._errand.sandbox, attempt.upstream, attempt.begun)

    def _heard(self, attempt: Attempt, reply: bytes | None) -> None:
        self._attempts.remove(attempt)
        attempt.close()
        sandbox, now = self._errand.sandbox, time.monotonic()
        if reply is not None:
            self._health.answered(sandbox.id, attempt.upstream, now)
            if self._accept(attempt, reply, now):
                return
        elif self._errand.stream:
            # A resolver may close a connection because of one name.
            self._doubt(attempt)
        else:
            self._health.silent(sandbox.id, attempt.upstream, now, now)
        self._next()

    def _accept(self, attempt: Attempt, reply: bytes, now: float) -> bool:
        """Finish with the reply, or ask the same resolver in plain case; False when it is of no use."""
        if self._needs_plain_case(attempt, reply, now):
            return self._attempt(attempt.upstream, plain=True)
        if not is_whole(reply):
            return False
        mine = restored(reply[2:], attempt.query[2:], self._question, self._name_end)
        if not is_failure(reply):
            self.finish(mine)
            return True
        if (
            code(reply) in _PASSED_ON
            and has_question(reply)
            and (self._failure is None or code(reply) == Code.SERVFAIL)
        ):
            self._failure = mine
        return False

    def _needs_plain_case(self, attempt: Attempt, reply: bytes, now: float) -> bool:
        """Learn from a reply how its sender deals with mixed case; says whether to ask it again in plain case."""
        key = server(self._errand.sandbox.id, attempt.upstream)
        if attempt.query[2:] == self._question:
            if attempt.upstream in self._mixed and is_positive(reply) and not self._casing.is_proved(key):
                self._casing.give_up(key, now)
            return False
        if not has_case_of(attempt.query, reply):
            self._casing.give_up(key, now)
            return True
        if is_positive(reply):
            self._casing.prove(key)
            return False
        return not self._casing.is_proved(key)
