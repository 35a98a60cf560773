"""Responses to the queries over TCP, and to those over UDP for which no response is prepared."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from netd.dns.datagrams import NAME
from netd.dns.dns_counters import DnsCounters
from netd.dns.forwarding.forward import Forwarder
from netd.dns.messages.decide import Forward, Rcode, decide, holds_for_siblings
from netd.dns.messages.message import (
    HEADER,
    DnsMessage,
    RoundRobin,
    build_response,
    header_response,
    parse_query,
    plain_question,
)
from netd.dns.messages.plain_response import plain_response
from netd.dns.reply_queue import ReplyQueue
from netd.dns.sandbox import ServedSandbox
from netd.dns.views import SharedView, ViewTable

log = logging.getLogger(__name__)

_UNDERSCORE = ord("_")
_NAME_START = HEADER - 2
"""Offset of the name in a query without its id."""
_MAX_PLAIN_SIZE = 253
"""Bytes of a query without its id below which its name cannot be too long."""
_MAX_PREPARED_SIZE = 300
"""Bytes of a query: the longest name, and an OPT record without options."""


class Responder:
    """Answers queries from the records and forwards the others."""

    def __init__(self, views: ViewTable, forwarder: Forwarder, replies: ReplyQueue, counters: DnsCounters) -> None:
        self._outcomes = counters.outcomes
        self._views = views
        self._forwarder = forwarder
        self._replies = replies

    def respond_datagram(self, sandbox: ServedSandbox, query: bytes, client: bytes) -> bytes | None:
        """Return the response to *query*, both without id; None if there is none or the reply queue gets it later.

        *client*: as in ``ReplyQueue.add``.
        """
        if sandbox.shared_view is None:
            return None
        shared_view, siblings = sandbox.shared_view, _siblings(query)
        response: bytes | Forward | None = shared_view.forwarded.get(siblings)
        if response is None:
            response = self._decide(sandbox, shared_view, client[NAME:] + query, False, siblings)
        if not isinstance(response, Forward):
            return response
        if siblings in shared_view.forwarded:
            return self._forwarder.forward_datagram(sandbox, response, query, client)
        deliver = partial(self._replies.add, sandbox, client)
        return self._forwarder.forward(sandbox, response, client[NAME:] + query, False, deliver)

    def respond(
        self, sandbox: ServedSandbox, packet: bytes, stream: bool, deliver: Callable[[bytes], None]
    ) -> bytes | None:
        """Return the response to *packet* without its id; None if there is none or *deliver* gets it later."""
        if sandbox.shared_view is None:
            return None
        siblings = _siblings(packet[2:])
        if (decision := sandbox.shared_view.forwarded.get(siblings)) is not None:
            return self._forwarder.forward(sandbox, decision, packet, stream, deliver, is_plain=True)
        response = self._decide(sandbox, sandbox.shared_view, packet, stream, siblings)
        if isinstance(response, Forward):
            return self._forwarder.forward(sandbox, response, packet, stream, deliver)
        return response

    def _decide(
        self, sandbox: ServedSandbox, shared_view: SharedView, packet: bytes, stream: bool, siblings: bytes
    ) -> bytes | Forward | None:
        """Return the response to *packet* without its id, the decision to forward it, or None to ignore it."""
        sandbox.is_costly = True
        try:
            response = self._local(shared_view, packet, stream, siblings)
        except Exception:
            # An exception here would lose the other queries of the batch.
            log.exception("query failed: sandbox=%s packet=%s", sandbox.id[:12], packet[:80].hex())
            self._outcomes["failed"] += 1
            return header_response(packet, Rcode.SERVFAIL)
        if not isinstance(response, Forward):
            self._outcomes["dropped" if response is None else "records"] += 1
        return response

    def _local(self, shared_view: SharedView, packet: bytes, stream: bool, siblings: bytes) -> bytes | Forward | None:
        response = (shared_view.streamed if stream else shared_view.prepared).get(packet[2:])
        if response is not None:
            return response.next() if isinstance(response, RoundRobin) else response
        question = plain_question(packet)
        if question is not None:
            decision = decide(question, shared_view.view, self._views.networks, self._views.zones)
            if isinstance(decision, Forward):
                if siblings and holds_for_siblings(question, shared_view.view, self._views.networks):
                    shared_view.prepare_forward(siblings, decision)
                return decision
            if (plain := plain_response(packet, decision, stream)) is not None:
                shared_view.prepare(packet[2:], plain, stream)
                return plain.next() if isinstance(plain, RoundRobin) else plain
        message = parse_query(packet)
        if message is None:
            return None
        if isinstance(message, Rcode):
            return header_response(packet, message)
        decision = decide(message.question, shared_view.view, self._views.networks, self._views.zones)
        found = decision if isinstance(decision, Forward) else build_response(message, decision, stream)
        if _is_plain(message, packet):
            shared_view.prepare(packet[2:], found, stream)
        return found.next() if isinstance(found, RoundRobin) else found


def _siblings(query: bytes) -> bytes:
    """Return the bytes that *query*, without id, shares with those for all names with its parent; "" if they matter.

    A query with the first label inserted again is valid: the label and the name are short enough.
    """
    if not _NAME_START + 1 < len(query) < _MAX_PLAIN_SIZE or query[_NAME_START + 1] == _UNDERSCORE:
        return b""
    length = query[_NAME_START]
    return query[:_NAME_START] + query[_NAME_START + 1 + length :] if 0 < length < 64 else b""


def _is_plain(message: DnsMessage, packet: bytes) -> bool:
    """Return True if the same bytes are likely to be sent again: no EDNS options such as cookies or padding."""
    return len(packet) <= _MAX_PREPARED_SIZE and (message.edns is None or not message.edns.rdata)
