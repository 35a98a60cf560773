"""Questions that are not ours, asked elsewhere.

The query goes on unchanged but for its id, by the protocol it came with, and the reply comes back unchanged: TC,
EDNS and spelling are between the asker and the resolver.  The same question from the same container is asked once
at a time, however many wait for it; that also breaks the circle when a resolver asks us in turn.  An answer is kept
for as long as it holds, for all who would have asked the same resolvers from the same place.  Nothing blocks.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from netd.dns.attempts import Attempt, Datagram, Stream
from netd.dns.cache import Cache
from netd.dns.decide import Code, Forward
from netd.dns.loop import Loop, Timer
from netd.dns.records import Upstream
from netd.dns.sandbox import Sandbox
from netd.dns.upstreams import Health, HostFile
from netd.dns.wire import refuse
from netd.kernel.netns import socket_in

STEP = 0.2
"""Seconds without a reply after which the next resolver is asked too; a late reply still counts."""
PATIENCE = 1.0
"""Seconds without a reply after which those that were asked are asked again, in case a datagram was lost."""
DEADLINE = 4.5
"""Seconds after which the asker gets SERVFAIL: before the five seconds at which C libraries stop listening."""
MEMORY = 1.0
"""Seconds for which silence is remembered (RFC 9520), so that a retry fails at once and no circle goes on for ever."""
MOST_PER_SANDBOX = 256
MOST = 1024
"""Questions under way at once; one more is answered SERVFAIL."""
_MOST_WAITING = 128
"""Askers that one question under way keeps; any further are left to ask again."""

Done: TypeAlias = Callable[["bytes | None", bool], None]
"""Told the reply, if there is one, and whether it is a failure to remember."""
Deliver: TypeAlias = Callable[[bytes], None]
_Key: TypeAlias = tuple[str, bool, bytes]
"""Sandbox, whether over TCP, question."""


@dataclass(frozen=True, slots=True)
class Errand:
    sandbox: Sandbox
    upstreams: tuple[Upstream, ...]
    packet: bytes
    stream: bool

    @property
    def place(self) -> Hashable:
        """Return what decides on the answer: the resolvers, from where they are asked, how, and the query."""
        inside = any(upstream.inside for upstream in self.upstreams)
        return (self.sandbox.number if inside else 0, self.upstreams, self.stream, self.packet[2:])


class Forwarder:
    """All questions under way."""

    def __init__(self, loop: Loop, host: HostFile) -> None:
        self._loop = loop
        self._host = host
        self._health = Health()
        self._races: dict[str, dict[_Key, Race]] = {}
        self._count = 0
        self._cache = Cache()
        self._failures: dict[_Key, bytes] = {}
        """What nobody answered a moment ago."""

    def ask(self, sandbox: Sandbox, forward: Forward, packet: bytes, stream: bool, deliver: Deliver) -> bytes | None:
        """Ask on behalf of *sandbox*; *deliver* gets the reply without its id, unless it is returned at once."""
        upstreams = forward.upstreams or self._host.upstreams()
        if not upstreams:
            return refuse(packet, forward.otherwise)
        if forward.exists:
            reply = self._ask(Errand(sandbox, upstreams, packet, stream), lambda late: deliver(_not_denied(late)))
            return None if reply is None else _not_denied(reply)
        return self._ask(Errand(sandbox, upstreams, packet, stream), deliver)

    def _ask(self, errand: Errand, deliver: Deliver) -> bytes | None:
        if (kept := self._cache.get(errand.place, time.monotonic())) is not None:
            return kept
        sandbox = errand.sandbox
        key = (sandbox.id, errand.stream, errand.packet[2:])
        if (failure := self._failures.get(key)) is not None:
            return failure
        races = self._races.setdefault(sandbox.id, {})
        if (race := races.get(key)) is not None:
            race.join(deliver)
            return None
        if len(races) >= MOST_PER_SANDBOX or self._count >= MOST:
            return refuse(errand.packet, Code.SERVFAIL)
        self._count += 1
        race = races[key] = Race(self._loop, self._health, errand, self._done(key, errand))
        race.join(deliver)
        race.start()
        return None

    def abandon(self, sandbox: Sandbox) -> None:
        """Drop what is under way for a sandbox that is going away: its sockets would keep the namespace alive."""
        for race in tuple(self._races.get(sandbox.id, {}).values()):
            race.finish(None)
        self._races.pop(sandbox.id, None)
        self._health.forget(sandbox.id)

    def _done(self, key: _Key, errand: Errand) -> Done:
        def done(reply: bytes | None, is_failure: bool) -> None:
            del self._races[key[0]][key]
            self._count -= 1
            if reply is None:
                return
            if is_failure:
                self._failures[key] = reply
                self._loop.later(MEMORY, partial(self._failures.__delitem__, key))
            else:
                self._cache.put(errand.place, errand.packet[2:], reply, time.monotonic())

        return done


class Race:
    """One question under way: the first resolver with an answer wins, and all who wait get it."""

    def __init__(self, loop: Loop, health: Health, errand: Errand, done: Done) -> None:
        self._loop = loop
        self._health = health
        self._errand = errand
        self._done = done
        self._waiting: list[Deliver] = []
        self._attempts: list[Attempt] = []
        self._order: tuple[Upstream, ...] = ()
        self._left: deque[Upstream] = deque()
        self._asked_once = errand.stream
        self._failure: bytes | None = None
        self._finished = False
        self._step: Timer | None = None
        self._deadline = loop.later(DEADLINE, self._expire)

    def join(self, deliver: Deliver) -> None:
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(deliver)

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
            for deliver in self._waiting:
                deliver(reply)

    def _expire(self) -> None:
        self.finish(self._failure or refuse(self._errand.packet, Code.SERVFAIL), silence=True)

    def _fail(self) -> None:
        self.finish(self._failure or refuse(self._errand.packet, Code.SERVFAIL))

    def _next(self) -> None:
        """Ask the next resolver that can be asked; with none left and nobody asked, the question has failed."""
        self._cancel_step()
        while self._left:
            if self._attempt(self._left.popleft()):
                self._step = self._loop.later(STEP if self._left else PATIENCE, self._late)
                return
        if not self._attempts:
            self._fail()

    def _cancel_step(self) -> None:
        if self._step is not None:
            self._step.cancel()

    def _attempt(self, upstream: Upstream) -> bool:
        kind = Stream if self._errand.stream else Datagram
        place = partial(socket_in, self._errand.sandbox.netns) if upstream.inside else _socket_here
        try:
            attempt = kind(self._loop, place, upstream, self._errand.packet[2:], self._heard)
        except OSError:
            now = time.monotonic()
            self._health.silent(self._errand.sandbox.id, upstream, now, now)
            return False
        self._attempts.append(attempt)
        return True

    def _late(self) -> None:
        now = time.monotonic()
        for attempt in self._attempts:
            self._health.silent(self._errand.sandbox.id, attempt.upstream, attempt.begun, now)
        if not self._left and not self._asked_once:
            self._asked_once = True
            self._left.extend(self._order)
        self._next()

    def _heard(self, attempt: Attempt, reply: bytes | None) -> None:
        self._attempts.remove(attempt)
        attempt.close()
        now = time.monotonic()
        if reply is None:
            self._health.silent(self._errand.sandbox.id, attempt.upstream, now, now)
        else:
            self._health.answered(self._errand.sandbox.id, attempt.upstream, now)
            if reply[3] & 15 not in (Code.SERVFAIL, Code.REFUSED):
                self.finish(reply[2:])
                return
            if reply[3] & 15 == Code.SERVFAIL:
                self._failure = reply[2:]
        self._next()


def _not_denied(reply: bytes) -> bytes:
    """Turn a denial, here without its id, into an empty answer."""
    if reply[1] & 15 != Code.NXDOMAIN:
        return reply
    return reply[:1] + bytes([reply[1] & 0xF0 | Code.NOERROR]) + reply[2:]


def _socket_here(family: int, kind: int) -> socket.socket:
    return socket.socket(family, kind | socket.SOCK_NONBLOCK)
