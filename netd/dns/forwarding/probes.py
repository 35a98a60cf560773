"""Whether a resolver that is silent on one name is silent on all.

Anybody can have a name that no resolver gets an answer for.  So a resolver that is late with a name is asked for the
name servers of the root, which every resolver has at hand, and is passed over only if that is not answered either.
"""

from __future__ import annotations

import time
from functools import partial

from netd.dns.event_loop import Loop
from netd.dns.forwarding.case_randomization import NAME
from netd.dns.forwarding.upstream_attempts import Attempt, Datagram, is_shortage, socket_here
from netd.dns.forwarding.upstreams import UpstreamHealth, server
from netd.dns.records import Upstream
from netd.dns.sandbox import ServedSandbox
from netd.kernel.namespaces.netns import socket_in

STEP = 0.2
"""Seconds without a reply after which the next resolver is asked too; a late reply still counts."""
_END = 2.0
"""Seconds after which a reply is no longer awaited."""
_ROOT = bytes.fromhex("0100 0001 0000 0000 0000 00 0002 0001")
"""The query, without its id, for the name servers of the root."""


def is_probe(query: bytes) -> bool:
    """Whether a query, without its id, asks what a probe asks."""
    return query[NAME:] == _ROOT[NAME:]


class Probes:
    """Asks, one question at a time per resolver, and tells *health* of the outcome."""

    def __init__(self, loop: Loop, health: UpstreamHealth) -> None:
        self._loop = loop
        self._health = health
        self._running: dict[object, tuple[str, Attempt]] = {}

    def doubt(self, sandbox: ServedSandbox, upstream: Upstream, since: float) -> None:
        """Look into a resolver that has not answered a question put at *since*, unless it answered another one."""
        key = server(sandbox.id, upstream)
        known = self._health.is_known(sandbox.id, upstream, since)
        if known or key in self._running or self._health.is_suspect(sandbox.id, upstream):
            return
        place = partial(socket_in, sandbox.netns) if upstream.inside else socket_here
        heard = partial(self._heard, sandbox.id)
        try:
            probe = Datagram(self._loop, place, upstream, _ROOT, heard)
        except OSError as problem:
            if not is_shortage(problem):
                self._suspect(sandbox.id, upstream, since)
            return
        self._running[key] = (sandbox.id if upstream.inside else "", probe)
        self._loop.later(STEP, partial(self._late, sandbox.id, probe))
        self._loop.later(_END, partial(self._close, sandbox.id, probe))

    def forget(self, sandbox: str) -> None:
        """End what is under way inside a sandbox: a socket would keep its namespace alive."""
        for owner, probe in tuple(self._running.values()):
            if owner == sandbox:
                self._close(sandbox, probe)

    def _is_running(self, sandbox: str, probe: Attempt) -> bool:
        _, running = self._running.get(server(sandbox, probe.upstream), ("", None))
        return running is probe

    def _late(self, sandbox: str, probe: Attempt) -> None:
        if self._is_running(sandbox, probe):
            self._suspect(sandbox, probe.upstream, probe.begun)

    def _heard(self, sandbox: str, probe: Attempt, reply: bytes | None) -> None:
        self._close(sandbox, probe)
        if reply is None:
            self._suspect(sandbox, probe.upstream, probe.begun)
        else:
            self._health.answered(sandbox, probe.upstream, time.monotonic())

    def _suspect(self, sandbox: str, upstream: Upstream, since: float) -> None:
        self._health.silent(sandbox, upstream, since, time.monotonic())

    def _close(self, sandbox: str, probe: Attempt) -> None:
        if self._is_running(sandbox, probe):
            del self._running[server(sandbox, probe.upstream)]
            probe.close()
