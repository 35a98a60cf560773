"""Forwarding of queries for names that are not in the records.

A query is forwarded unchanged except for its id, the case of its letters and EDNS options of one hop, over the
protocol by which it was received, and the response is returned in the client's own spelling; TC and other EDNS
options concern only the client and the upstream server.  Equal queries of a container that are pending at the same
time are forwarded once; this also breaks the loop if an upstream server forwards to this one.  A response is cached
for its TTL, for all sandboxes that would send the query to the same upstream servers from the same network namespace.
No call blocks.
"""

from __future__ import annotations

import resource
import time
from functools import partial
from typing import TypeAlias

from netd.dns.dns_counters import DnsCounters
from netd.dns.event_loop import Loop
from netd.dns.forwarding.cache import Cache
from netd.dns.forwarding.case_randomization import folded, spelled
from netd.dns.forwarding.fair_shares import Shares
from netd.dns.forwarding.probes import Probes, is_probe
from netd.dns.forwarding.upstream_race import Deliver, Done, PendingQuery, UpstreamRace
from netd.dns.forwarding.upstreams import HostFile, UpstreamHealth
from netd.dns.messages.decide import Forward, Rcode
from netd.dns.messages.edns_options import without_hop_options
from netd.dns.messages.message import error_response
from netd.dns.sandbox import ServedSandbox

FAILURE_TTL = 1.0
"""Seconds for which a failure is cached (RFC 9520), so that a retry fails at once and forwarding loops end."""
PROBE_FAILURE_TTL = 10.0
"""The same for queries equal to a probe: each name in a forwarding loop causes a probe."""
MAX_CLIENTS_PER_SANDBOX = 1024
MAX_CLIENTS = 4096
"""Limits of waiting clients.  At a limit, the oldest query of the container with the most clients gets SERVFAIL."""
_SOCKETS_PER_QUERY = 8
_OTHER_DESCRIPTORS = 512

_Key: TypeAlias = tuple[str, bool, bytes]
"""Sandbox, whether over TCP, query with its name in lower case."""


class Forwarder:
    """All pending queries."""

    def __init__(self, loop: Loop, host: HostFile, counters: DnsCounters) -> None:
        self._counters = counters
        self._loop = loop
        self._host = host
        self._health = UpstreamHealth()
        self._probes = Probes(loop, self._health)
        self._races: dict[str, dict[_Key, UpstreamRace]] = {}
        """Sandbox → its pending queries, the oldest first."""
        self._shares = Shares(_max_clients(), MAX_CLIENTS_PER_SANDBOX)
        self._cache = Cache()
        self._failures: dict[_Key, bytes] = {}
        """Query → the response to a failed one."""

    def forward(
        self, sandbox: ServedSandbox, forward: Forward, packet: bytes, stream: bool, deliver: Deliver
    ) -> bytes | None:
        """Forward a query of *sandbox*; *deliver* gets the response without its id, unless it is returned at once."""
        upstreams = forward.upstreams or self._host.upstreams()
        if not upstreams:
            self._counters.outcomes["records"] += 1
            return error_response(packet, forward.otherwise)
        packet = without_hop_options(packet)
        if forward.exists:
            reply = self._forward(
                PendingQuery(sandbox, upstreams, packet, stream), lambda late: deliver(_not_denied(late))
            )
            return None if reply is None else _not_denied(reply)
        return self._forward(PendingQuery(sandbox, upstreams, packet, stream), deliver)

    def _forward(self, pending: PendingQuery, deliver: Deliver) -> bytes | None:
        if (cached := self._cache.get(pending.cache_key, time.monotonic())) is not None:
            self._counters.outcomes["cache"] += 1
            return cached
        sandbox = pending.sandbox
        key = (sandbox.id, pending.stream, folded(pending.packet[2:], pending.name_end))
        if (failure := self._failures.get(key)) is not None:
            self._counters.outcomes["failed"] += 1
            return spelled(failure, pending.packet[2:], pending.name_end)
        self._make_room(sandbox)
        self._shares.begin(sandbox.id)
        races = self._races.setdefault(sandbox.id, {})
        race = races.get(key)
        if race is not None:
            race.join(pending.packet, deliver)
            return None
        race = races[key] = UpstreamRace(self._loop, self._health, self._probes, pending, self._done(key, pending))
        race.join(pending.packet, deliver)
        race.start()
        return None

    def _make_room(self, sandbox: ServedSandbox) -> None:
        while (container := self._shares.container_to_drop(sandbox.id)) is not None:
            next(iter(self._races[container].values())).fail()

    def abandon(self, sandbox: ServedSandbox) -> None:
        """Drop the pending queries of a sandbox that is being deleted: their sockets keep its namespace alive."""
        for race in tuple(self._races.get(sandbox.id, {}).values()):
            race.finish(None)
        self._races.pop(sandbox.id, None)
        self._probes.forget(sandbox.id)
        self._health.forget(sandbox.id)

    def _done(self, key: _Key, pending: PendingQuery) -> Done:
        begun = time.monotonic()

        def done(reply: bytes | None, is_failure: bool) -> None:
            race = self._races[key[0]].pop(key)
            self._shares.end(key[0], len(race.waiting))
            outcome = "dropped" if reply is None else "failed" if is_failure else "upstream"
            self._counters.outcomes[outcome] += len(race.waiting)
            if reply is None:
                return
            self._counters.observe(time.monotonic() - begun)
            if is_failure:
                self._failures[key] = reply
                seconds = PROBE_FAILURE_TTL if is_probe(pending.packet[2:]) else FAILURE_TTL
                self._loop.call_later(seconds, partial(self._failures.__delitem__, key))
            else:
                self._cache.put(pending.cache_key, pending.packet[2:], reply, time.monotonic(), key[0])

        return done


def _max_clients() -> int:
    """Return how many clients may wait at the same time, within RLIMIT_NOFILE."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, min(MAX_CLIENTS, (limit - _OTHER_DESCRIPTORS) // _SOCKETS_PER_QUERY))


def _not_denied(reply: bytes) -> bytes:
    """Return NODATA in place of NXDOMAIN; *reply* is without its id."""
    if reply[1] & 15 != Rcode.NXDOMAIN:
        return reply
    return reply[:1] + bytes([reply[1] & 0xF0 | Rcode.NOERROR]) + reply[2:]
