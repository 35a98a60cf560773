"""Forwarding of most queries without objects and timers of their own.

A plain query over UDP whose first upstream server is healthy and keeps the case of names is sent to this server at the
end of the round, together with the others.  Almost all are answered at once by a plain answer, which is checked,
cached and delivered here.  For all others, the query becomes an ``UpstreamRace`` with this attempt: if another client
sends it too, if the response is not a plain answer, and if there is none within the time of a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from netd.dns.dns_counters import DnsCounters
from netd.dns.forwarding.cache import Cache
from netd.dns.forwarding.case_randomization import NAME, spelled, spellings
from netd.dns.forwarding.delay_queue import DelayQueue
from netd.dns.forwarding.fair_shares import Shares
from netd.dns.forwarding.probes import STEP
from netd.dns.forwarding.query_routes import Route
from netd.dns.forwarding.quick_query import QuickQuery, new_query
from netd.dns.forwarding.udp_ports import Port, Query, Receiver, UdpPorts
from netd.dns.forwarding.upstream_race import RETRY_AFTER, Deliver, RaceContext, UpstreamRace
from netd.dns.messages.rr_scan import plain_answer
from netd.dns.records import Upstream
from netd.dns.reply_queue import ReplyQueue
from netd.dns.sandbox import ServedSandbox

_GRAIN = 0.02
"""Seconds between two looks at the queries that are late."""
_ONE = b"\0\1"
_PLAIN_HEADERS = frozenset(
    bytes((0x80 | flags, more)) + _ONE
    for flags in (0, 1, 4, 5)
    for more in (0x00, 0x10, 0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0)
)
"""Bytes 2 to 5 of responses: QR, not TC, NOERROR, any of AA, RD, RA, AD and CD; one question."""


class _Flight:
    """Queries that were sent from a port at the same time."""

    __slots__ = ("port", "ports", "queries", "sent")

    def __init__(self, ports: UdpPorts, port: Port, sent: float) -> None:
        self.ports = ports
        self.port = port
        self.queries = port.queries
        """Those of the port until its release."""
        self.sent = sent
        """Monotonic seconds."""


class QuickQueries(Receiver):
    """The queries that are pending without objects of their own."""

    def __init__(
        self,
        context: RaceContext,
        cache: Cache,
        shares: Shares,
        replies: ReplyQueue,
        counters: DnsCounters,
        promote: Callable[[QuickQuery], UpstreamRace],
    ) -> None:
        """*promote* returns the race that continues a query, before its start."""
        self._context = context
        self._cache = cache
        self._shares = shares
        self._replies = replies
        self._counters = counters
        self._promote = promote
        self._waiting: dict[Route, list[QuickQuery]] = {}
        self._joined: dict[QuickQuery, list[tuple[bytes, Deliver]]] = {}
        """Query → other clients that sent it too: their questions without ids, and the callbacks for the response."""
        self._steps: DelayQueue[_Flight] = DelayQueue(context.loop, STEP, self._on_late, _GRAIN)
        self._retries: DelayQueue[_Flight] = DelayQueue(context.loop, RETRY_AFTER, self._on_late, _GRAIN)

    def start(
        self, route: Route, sandbox: ServedSandbox, question: bytes, name_end: int, client: bytes, now: float
    ) -> bool:
        """Add a query to the pending ones, to be sent at the end of this round; arguments as in ``QuickQuery``.

        Returns False if an equal query is pending, or too many.
        """
        key, sent = spellings(question, name_end)
        if key in route.races or not self._shares.begin_if_free(sandbox.id):
            return False
        query = route.races[key] = new_query((sent, question, name_end, key, sandbox, client, route, now))
        waiting = self._waiting.get(route)
        if waiting is None:
            if not self._waiting:
                self._context.loop.call_soon(self._send)
            waiting = self._waiting[route] = []
        waiting.append(query)
        return True

    def join(self, query: QuickQuery, question: bytes, deliver: Deliver) -> None:
        """Add another client of a query; *question* may differ in the case of its letters."""
        self._joined.setdefault(query, []).append((question, deliver))

    def promote_joined(self, query: QuickQuery, race: UpstreamRace) -> None:
        """Pass the other clients of a query on to its race."""
        for question, deliver in self._joined.pop(query, ()):
            race.join(bytes(2) + question, deliver)

    def abandon(self, query: QuickQuery) -> int:
        """Drop a query, which the caller has removed from the pending ones; return the number of its clients."""
        return 1 + len(self._joined.pop(query, ()))

    def _send(self) -> None:
        groups: dict[tuple[UdpPorts, Upstream, bool], list[QuickQuery]] = {}
        routes, self._waiting = self._waiting, {}
        for route, queries in routes.items():
            has_others = len(route.upstreams) > 1
            groups.setdefault((route.ports, route.upstream, has_others), []).extend(filter(_is_pending, queries))
        now = time.monotonic()
        for (ports, upstream, has_others), group in groups.items():
            used, unsent = ports.send_quick(upstream, group)
            late = self._steps if has_others else self._retries
            for port in used:
                late.add(_Flight(ports, port, now))
            for query in unsent:
                self._promote(query).start()

    def received(self, ports: UdpPorts, port: Port, packets: Sequence[bytes]) -> int:
        queries, now = port.queries, time.monotonic()
        ended = clients = 0
        last: Route | None = None
        for packet in packets:
            query = queries.get(packet[:2])
            if isinstance(query, QuickQuery):
                route = query.route
                if route.races.get(query.key) is query:
                    answered = self._answer(query, packet, now)
                    if not answered:
                        self._hand_over(query, ports, port, packet[:2]).received(packet)
                        continue
                    if route is not last:
                        self._count(last, clients, now)
                        last, clients = route, 0
                    clients += answered
                queries[packet[:2]] = None
                ended += 1
            elif query is not None:
                query.received(packet)
        self._count(last, clients, now)
        return ended

    def _answer(self, query: QuickQuery, packet: bytes, now: float) -> int:
        """Deliver *packet*, if it is a plain answer to the query; return the number of clients."""
        sent, question, name_end, key, sandbox, client, route, begun = query
        if packet[2:6] not in _PLAIN_HEADERS or not packet.startswith(sent[NAME : name_end + 4], NAME + 2):
            return 0
        if (found := plain_answer(packet, name_end + 6)) is None:
            return 0
        del route.races[key]
        name = question[NAME:name_end]
        rest = packet[name_end + 2 :].replace(sent[NAME:name_end], name)
        reply = packet[2 : NAME + 2] + name + rest
        self._replies.add(sandbox, client, reply)
        seconds, ttl_offsets = found
        if seconds:
            self._cache.store(route.prefix + question, len(question), reply, seconds, ttl_offsets, now, route.sandbox)
        self._counters.observe(now - begun)
        return 1 + self._deliver_joined(query, reply) if self._joined else 1

    def _count(self, route: Route | None, clients: int, now: float) -> None:
        """Count the answers to *clients* clients."""
        if route is not None:
            self._shares.end(route.sandbox, clients)
            self._counters.outcomes["upstream"] += clients
            self._context.health.record_response_of(route.server_key, now)

    def _deliver_joined(self, query: QuickQuery, reply: bytes) -> int:
        joined = self._joined.pop(query, ())
        for question, deliver in joined:
            deliver(spelled(reply, question, query.name_end))
        return len(joined)

    def _hand_over(self, query: QuickQuery, ports: UdpPorts, port: Port, query_id: bytes) -> Query:
        """Return the attempt of the race that continues the query."""
        return self._promote(query).adopt(ports, port, query_id + query.sent, query.begun)

    def refused(self, query: QuickQuery) -> None:
        """Continue with the next server."""
        if _is_pending(query):
            self._promote(query).refused()

    def _on_late(self, flight: _Flight) -> None:
        for query_id, query in tuple(flight.queries.items()):
            if not isinstance(query, QuickQuery) or query.begun > flight.sent:
                continue
            if not _is_pending(query):
                flight.ports.end(flight.port, query_id, query)
                continue
            race = self._promote(query)
            race.adopt(flight.ports, flight.port, query_id + query.sent, query.begun)
            race.on_late()


def _is_pending(query: QuickQuery) -> bool:
    """Return False for a query that was dropped or has become a race."""
    return query.route.races.get(query.key) is query
