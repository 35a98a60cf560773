"""Probes that distinguish a dead upstream server from one that cannot resolve a single name.

A container can query a name whose authoritative servers never respond, so that every upstream server is late.  A late
server is therefore queried for the root's name servers, which every resolver has cached, and avoided only if it does
not respond to that query either.
"""

from __future__ import annotations

import time
from functools import partial

from netd.dns.event_loop import Loop
from netd.dns.forwarding.case_randomization import NAME
from netd.dns.forwarding.port_table import PortTable
from netd.dns.forwarding.udp_ports import is_shortage
from netd.dns.forwarding.upstream_attempts import Attempt, Datagram
from netd.dns.forwarding.upstreams import UpstreamHealth, server_key
from netd.dns.records import Upstream
from netd.dns.sandbox import ServedSandbox

STEP = 0.2
"""Seconds without a response after which the next upstream server is queried too; a late response still counts."""
_END = 2.0
"""Seconds after which a probe ends."""
_ROOT = bytes.fromhex("0100 0001 0000 0000 0000 00 0002 0001")
"""The query, without its id, for the NS records of the root."""


def is_probe(query: bytes) -> bool:
    """Return True if a query, without its id, has the question of a probe."""
    return query[NAME:] == _ROOT[NAME:]


class Probes:
    """Sends probes, one at a time per upstream server, and reports the results to *health*."""

    def __init__(self, loop: Loop, health: UpstreamHealth, ports: PortTable) -> None:
        self._loop = loop
        self._ports = ports
        self._health = health
        self._running: dict[object, tuple[str, Attempt]] = {}

    def probe(self, sandbox: ServedSandbox, upstream: Upstream, since: float) -> None:
        """Probe a server that has not responded to a query sent at *since*, unless it responded to another one."""
        key = server_key(sandbox.id, upstream)
        responded = self._health.has_responded(sandbox.id, upstream, since)
        if responded or key in self._running or self._health.is_suspect(sandbox.id, upstream):
            return
        on_response = partial(self._on_response, sandbox.id)
        try:
            probe = Datagram(self._ports.of(sandbox, upstream), upstream, _ROOT, len(_ROOT) + 2, on_response)
        except OSError as problem:
            if not is_shortage(problem):
                self._record_silence(sandbox.id, upstream, since)
            return
        self._running[key] = (sandbox.id if upstream.inside else "", probe)
        self._loop.call_later(STEP, partial(self._on_late, sandbox.id, probe))
        self._loop.call_later(_END, partial(self._close, sandbox.id, probe))

    def forget(self, sandbox: str) -> None:
        """End the probes inside a sandbox: their sockets keep its namespace alive."""
        for owner, probe in tuple(self._running.values()):
            if owner == sandbox:
                self._close(sandbox, probe)

    def _is_running(self, sandbox: str, probe: Attempt) -> bool:
        _, running = self._running.get(server_key(sandbox, probe.upstream), ("", None))
        return running is probe

    def _on_late(self, sandbox: str, probe: Attempt) -> None:
        if self._is_running(sandbox, probe):
            self._record_silence(sandbox, probe.upstream, probe.begun)

    def _on_response(self, sandbox: str, probe: Attempt, reply: bytes | None) -> None:
        self._close(sandbox, probe)
        if reply is None:
            self._record_silence(sandbox, probe.upstream, probe.begun)
        else:
            self._health.record_response(sandbox, probe.upstream, time.monotonic())

    def _record_silence(self, sandbox: str, upstream: Upstream, since: float) -> None:
        self._health.record_silence(sandbox, upstream, since, time.monotonic())

    def _close(self, sandbox: str, probe: Attempt) -> None:
        if self._is_running(sandbox, probe):
            del self._running[server_key(sandbox, probe.upstream)]
            probe.close()
