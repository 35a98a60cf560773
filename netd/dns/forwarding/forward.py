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
from collections.abc import Sequence
from functools import partial

from netd.dns.datagrams import NAME
from netd.dns.dns_counters import DnsCounters
from netd.dns.event_loop import Loop
from netd.dns.forwarding.cache import Cache
from netd.dns.forwarding.case_randomization import folded, spelled
from netd.dns.forwarding.fair_shares import Shares
from netd.dns.forwarding.probes import is_probe
from netd.dns.forwarding.query_routes import RouteTable
from netd.dns.forwarding.quick_queries import QuickQueries
from netd.dns.forwarding.quick_query import QuickQuery
from netd.dns.forwarding.upstream_race import Deliver, PendingQuery, RaceContext, UpstreamRace
from netd.dns.forwarding.upstreams import HostFile
from netd.dns.messages.decide import Forward, Rcode
from netd.dns.messages.edns_options import without_hop_options
from netd.dns.messages.message import PLAIN_OPT, error_response
from netd.dns.messages.rr_scan import RecordPosition
from netd.dns.reply_queue import ReplyQueue
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

_OVER_TCP = b"\xff"
"""Prefix of keys of queries over TCP; no key of a query over UDP begins with it."""


class Forwarder:
    """All pending queries."""

    def __init__(self, loop: Loop, host: HostFile, replies: ReplyQueue, counters: DnsCounters) -> None:
        self._counters = counters
        self._host = host
        self._replies = replies
        self._context = RaceContext(loop)
        self._routes = RouteTable(self._context.ports, self._context.health)
        self._shares = Shares(_max_clients(), MAX_CLIENTS_PER_SANDBOX)
        self._cache = Cache()
        self._failures: dict[tuple[str, bytes], bytes] = {}
        """Sandbox and key of a query → the response to a failed one."""
        self._quick = QuickQueries(self._context, self._cache, self._shares, replies, counters, self._promote)
        self._context.ports.receiver = self._quick

    def forward_datagram(self, sandbox: ServedSandbox, forward: Forward, query: bytes, client: bytes) -> bytes | None:
        """Forward a plain query of *sandbox* over UDP, without id; return the response if it is known.

        Otherwise it is sent to *client* later (``ReplyQueue.add``).  Plain: with at most an OPT record without options.
        """
        upstreams = forward.upstreams or self._host.upstreams()
        if upstreams and not forward.exists:
            route = self._routes.of(sandbox, upstreams)
            now = time.monotonic()
            cached = self._cache.get(route.prefix + query, now)
            if cached is not None:
                self._counters.outcomes["cache"] += 1
                return cached
            if not self._failures and route.is_quick():
                name_end = len(query) - PLAIN_OPT * query[9] - 4
                if self._quick.start(route, sandbox, query, name_end, client, now):
                    return None
        sandbox.is_costly = True
        deliver = partial(self._replies.add, sandbox, client)
        return self.forward(sandbox, forward, client[NAME:] + query, False, deliver, is_plain=True)

    def forward(
        self,
        sandbox: ServedSandbox,
        forward: Forward,
        packet: bytes,
        stream: bool,
        deliver: Deliver,
        is_plain: bool = False,
    ) -> bytes | None:
        """Forward a query of *sandbox*; *deliver* gets the response without its id, unless it is returned at once.

        *is_plain*: the packet is known to be a query with at most an OPT record without options.
        """
        upstreams = forward.upstreams or self._host.upstreams()
        if not upstreams:
            self._counters.outcomes["records"] += 1
            return error_response(packet, forward.otherwise)
        if not is_plain:
            packet = without_hop_options(packet)
        prefix = self._routes.prefixes.of(sandbox, upstreams, stream)
        pending = PendingQuery(sandbox, upstreams, packet, stream, prefix, is_plain)
        if forward.exists:
            reply = self._forward(pending, lambda late: deliver(_not_denied(late)))
            return None if reply is None else _not_denied(reply)
        return self._forward(pending, deliver)

    def _forward(self, pending: PendingQuery, deliver: Deliver) -> bytes | None:
        if (cached := self._cache.get(pending.cache_key, time.monotonic())) is not None:
            self._counters.outcomes["cache"] += 1
            return cached
        sandbox = pending.sandbox
        key = folded(pending.question, pending.name_end)
        if pending.stream:
            key = _OVER_TCP + key
        if self._failures and (failure := self._failures.get((sandbox.id, key))) is not None:
            self._counters.outcomes["failed"] += 1
            return spelled(failure, pending.question, pending.name_end)
        self._make_room(sandbox)
        self._shares.begin(sandbox.id)
        races = self._routes.races_of(sandbox)
        race = races.get(key)
        if isinstance(race, QuickQuery):
            self._quick.join(race, pending.question, deliver)
        elif race is not None:
            race.join(pending.packet, deliver)
        else:
            race = races[key] = UpstreamRace(
                self._context, pending, partial(self._done, key, pending, time.monotonic())
            )
            race.join(pending.packet, deliver)
            race.start()
        return None

    def _promote(self, query: QuickQuery) -> UpstreamRace:
        """Replace a pending quick query by a race, which the caller starts."""
        sandbox, route, packet = query.sandbox, query.route, query.client[NAME:] + query.question
        pending = PendingQuery(sandbox, route.upstreams, packet, False, route.prefix, is_plain=True)
        race = UpstreamRace(self._context, pending, partial(self._done, query.key, pending, query.begun))
        route.races[query.key] = race
        race.join(packet, partial(self._replies.add, sandbox, query.client))
        self._quick.promote_joined(query, race)
        return race

    def _make_room(self, sandbox: ServedSandbox) -> None:
        while (container := self._shares.container_to_drop(sandbox.id)) is not None:
            oldest = next(iter(self._routes.races[container].values()))
            (self._promote(oldest) if isinstance(oldest, QuickQuery) else oldest).fail()

    def abandon(self, sandbox: ServedSandbox) -> None:
        """Drop the pending queries of a sandbox that is being deleted: their sockets keep its namespace alive."""
        races = self._routes.races.get(sandbox.id, {})
        for key, race in tuple(races.items()):
            if isinstance(race, QuickQuery):
                del races[key]
                clients = self._quick.abandon(race)
                self._shares.end(sandbox.id, clients)
                self._counters.outcomes["dropped"] += clients
            else:
                race.finish(None)
        self._routes.forget(sandbox)
        self._context.forget(sandbox.id)

    def _done(
        self,
        key: bytes,
        pending: PendingQuery,
        begun: float,
        race: UpstreamRace,
        reply: bytes | None,
        is_failure: bool,
        positions: Sequence[RecordPosition] | None,
    ) -> None:
        sandbox = pending.sandbox.id
        del self._routes.races[sandbox][key]
        clients = len(race.waiting)
        self._shares.end(sandbox, clients)
        outcome = "dropped" if reply is None else "failed" if is_failure else "upstream"
        self._counters.outcomes[outcome] += clients
        if reply is None:
            return
        now = time.monotonic()
        self._counters.observe(now - begun)
        if is_failure:
            self._failures[sandbox, key] = reply
            seconds = PROBE_FAILURE_TTL if is_probe(pending.question) else FAILURE_TTL
            self._context.loop.call_later(seconds, partial(self._failures.__delitem__, (sandbox, key)))
        else:
            self._cache.put(pending.cache_key, pending.question, reply, now, sandbox, positions, pending.is_plain)


def _max_clients() -> int:
    """Return how many clients may wait at the same time, within RLIMIT_NOFILE."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, min(MAX_CLIENTS, (limit - _OTHER_DESCRIPTORS) // _SOCKETS_PER_QUERY))


def _not_denied(reply: bytes) -> bytes:
    """Return NODATA in place of NXDOMAIN; *reply* is without its id."""
    if reply[1] & 15 != Rcode.NXDOMAIN:
        return reply
    return reply[:1] + bytes([reply[1] & 0xF0 | Rcode.NOERROR]) + reply[2:]
