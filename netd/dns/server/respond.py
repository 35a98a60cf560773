"""From a packet to its reply: the one path for everything that is not prepared, over UDP and TCP alike."""

from __future__ import annotations

import logging
from collections.abc import Callable

from netd.dns.forwarding.forward import Forwarder
from netd.dns.messages.decide import Code, Forward, decide
from netd.dns.messages.message import DnsMessage, RoundRobin, complaint, read, write
from netd.dns.sandbox import ServedSandbox
from netd.dns.views import SharedView, ViewTable

log = logging.getLogger(__name__)

_LONGEST_PREPARED = 300
"""Bytes of a question worth remembering: the longest name with an OPT record without options."""


class Responder:
    """Answers what is ours and passes on the rest."""

    def __init__(self, scopes: ViewTable, forwarder: Forwarder) -> None:
        self._scopes = scopes
        self._forwarder = forwarder

    def respond(
        self, sandbox: ServedSandbox, packet: bytes, stream: bool, deliver: Callable[[bytes], None]
    ) -> bytes | None:
        """Return the reply to *packet* without its id, or None: it deserves none, or *deliver* gets it later."""
        if sandbox.scope is None:
            return None
        try:
            ready = self._known(sandbox.scope, packet, stream)
        except Exception:
            # A record that cannot be written must not take the other questions of this turn with it.
            log.exception("event=unanswerable sandbox=%s packet=%s", sandbox.id[:12], packet[:80].hex())
            return complaint(packet, Code.SERVFAIL)
        if isinstance(ready, Forward):
            return self._forwarder.ask(sandbox, ready, packet, stream, deliver)
        return ready

    def _known(self, scope: SharedView, packet: bytes, stream: bool) -> bytes | Forward | None:
        ready = (scope.streamed if stream else scope.prepared).get(packet[2:])
        if ready is not None:
            return ready.next() if isinstance(ready, RoundRobin) else ready
        message = read(packet)
        if message is None:
            return None
        if isinstance(message, Code):
            return complaint(packet, message)
        decision = decide(message.question, scope.view, self._scopes.networks, self._scopes.zones)
        found = decision if isinstance(decision, Forward) else write(message, decision, stream)
        if _is_plain(message, packet):
            scope.prepare(packet[2:], found, stream)
        return found.next() if isinstance(found, RoundRobin) else found


def _is_plain(message: DnsMessage, packet: bytes) -> bool:
    """Whether the very same bytes are likely to come again: no cookies or padding."""
    return len(packet) <= _LONGEST_PREPARED and (message.edns is None or not message.edns.rdata)
