"""Names that are not ours, asked elsewhere.

The query goes on unchanged but for its id and the case of its letters, by the protocol it came with, and the reply
comes back with the asker's own spelling: TC and EDNS are between the asker and the resolver.  The same question from
the same container is asked once at a time, however many wait for it; that also breaks the circle when a resolver asks
us in turn.  An answer is kept for as long as it holds, for all who would have asked the same resolvers from the same
place.  Nothing blocks.
"""

from __future__ import annotations

import resource
import time
from functools import partial
from typing import TypeAlias

from netd.dns.event_loop import Loop
from netd.dns.forwarding.cache import Cache
from netd.dns.forwarding.case_randomization import folded, spelled
from netd.dns.forwarding.fair_shares import Shares
from netd.dns.forwarding.probes import Probes, is_probe
from netd.dns.forwarding.upstream_race import Deliver, Done, PendingQuery, UpstreamRace
from netd.dns.forwarding.upstreams import HostFile, UpstreamHealth
from netd.dns.messages.decide import Code, Forward
from netd.dns.messages.message import refuse
from netd.dns.sandbox import ServedSandbox

MEMORY = 1.0
"""Seconds for which silence is remembered (RFC 9520), so that a retry fails at once and no circle goes on for ever."""
PROBE_MEMORY = 10.0
"""The same for what probes ask: each name in a circle of resolvers leads to a probe."""
MOST_PER_SANDBOX = 1024
MOST = 4096
"""Askers that wait at once; for one more, the oldest question of the container with the most ends with SERVFAIL."""
_SOCKETS_EACH = 8
_OTHER_DESCRIPTORS = 512

_Key: TypeAlias = tuple[str, bool, bytes]
"""Sandbox, whether over TCP, question without regard to case."""


class Forwarder:
    """All questions under way."""

    def __init__(self, loop: Loop, host: HostFile) -> None:
        self._loop = loop
        self._host = host
        self._health = UpstreamHealth()
        self._probes = Probes(loop, self._health)
        self._races: dict[str, dict[_Key, UpstreamRace]] = {}
        """Sandbox → its questions, the oldest first."""
        self._shares = Shares(_most(), MOST_PER_SANDBOX)
        self._cache = Cache()
        self._failures: dict[_Key, bytes] = {}
        """What nobody answered a moment ago."""

    def ask(
        self, sandbox: ServedSandbox, forward: Forward, packet: bytes, stream: bool, deliver: Deliver
    ) -> bytes | None:
        """Ask on behalf of *sandbox*; *deliver* gets the reply without its id, unless it is returned at once."""
        upstreams = forward.upstreams or self._host.upstreams()
        if not upstreams:
            return refuse(packet, forward.otherwise)
        if forward.exists:
            reply = self._ask(PendingQuery(sandbox, upstreams, packet, stream), lambda late: deliver(_not_denied(late)))
            return None if reply is None else _not_denied(reply)
        return self._ask(PendingQuery(sandbox, upstreams, packet, stream), deliver)

    def _ask(self, errand: PendingQuery, deliver: Deliver) -> bytes | None:
        if (kept := self._cache.get(errand.place, time.monotonic())) is not None:
            return kept
        sandbox = errand.sandbox
        key = (sandbox.id, errand.stream, folded(errand.packet[2:], errand.name_end))
        if (failure := self._failures.get(key)) is not None:
            return spelled(failure, errand.packet[2:], errand.name_end)
        self._make_room(sandbox)
        self._shares.begin(sandbox.id)
        races = self._races.setdefault(sandbox.id, {})
        race = races.get(key)
        if race is not None:
            race.join(errand.packet, deliver)
            return None
        race = races[key] = UpstreamRace(self._loop, self._health, self._probes, errand, self._done(key, errand))
        race.join(errand.packet, deliver)
        race.start()
        return None

    def _make_room(self, sandbox: ServedSandbox) -> None:
        while (container := self._shares.who_gives_way(sandbox.id)) is not None:
            next(iter(self._races[container].values())).fail()

    def abandon(self, sandbox: ServedSandbox) -> None:
        """Drop what is under way for a sandbox that is going away: its sockets would keep the namespace alive."""
        for race in tuple(self._races.get(sandbox.id, {}).values()):
            race.finish(None)
        self._races.pop(sandbox.id, None)
        self._probes.forget(sandbox.id)
        self._health.forget(sandbox.id)

    def _done(self, key: _Key, errand: PendingQuery) -> Done:
        def done(reply: bytes | None, is_failure: bool) -> None:
            race = self._races[key[0]].pop(key)
            self._shares.end(key[0], len(race.waiting))
            if reply is None:
                return
            if is_failure:
                self._failures[key] = reply
                seconds = PROBE_MEMORY if is_probe(errand.packet[2:]) else MEMORY
                self._loop.later(seconds, partial(self._failures.__delitem__, key))
            else:
                self._cache.put(errand.place, errand.packet[2:], reply, time.monotonic(), key[0])

        return done


def _most() -> int:
    """Return how many may wait at once with the descriptors that this process may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, min(MOST, (limit - _OTHER_DESCRIPTORS) // _SOCKETS_EACH))


def _not_denied(reply: bytes) -> bytes:
    """Turn a denial, here without its id, into an empty answer."""
    if reply[1] & 15 != Code.NXDOMAIN:
        return reply
    return reply[:1] + bytes([reply[1] & 0xF0 | Code.NOERROR]) + reply[2:]
