"""Limits on open connections, in total and per client.  Pure.

A client is a process, identified by its pid.  A client above its limit is refused.  When the total limit is reached,
clients with few connections are admitted from a reserve, so that a flood by one client does not lock out others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on connections, and timeouts for connections without progress."""

    connections: int = 4096
    per_client: int = 1024
    reserve: int = 256
    few: int = 8
    """A client with fewer connections than this is admitted from the reserve."""
    idle_seconds: float = 75.0
    """How long a connection may be open without a request."""
    head_seconds: float = 20.0
    """Limit from the first to the last byte of a request's head."""
    head_bytes: int = 1 << 20
    stalled_seconds: float = 120.0
    """How long a client may read nothing of a response of finite length."""


class Admission:
    """Counts connections and decides which are admitted."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._open: Counter[int] = Counter()
        self._warned: set[int] = set()

    def enter(self, client: int) -> str:
        """Count a connection until :meth:`leave`; return the reason for refusing it, "" if it is admitted."""
        refusal = self._refusal(client)
        self._open[client] += 1
        return refusal

    def leave(self, client: int) -> None:
        self._open[client] -= 1
        if self._open[client] <= 0:
            del self._open[client]
            self._warned.discard(client)

    def first_refusal(self, client: int) -> bool:
        """Return True at the first refusal since *client* had no connection, so that refusals are logged once."""
        known = client in self._warned
        self._warned.add(client)
        return not known

    def is_flooded_by(self, client: int) -> bool:
        """Return whether further refused connections of *client* are closed without reading a request."""
        bounds = self._bounds
        total = self._open.total()
        return self._open[client] > 2 * bounds.per_client or total > bounds.connections + 2 * bounds.reserve

    def _refusal(self, client: int) -> str:
        bounds, own, total = self._bounds, self._open[client], self._open.total()
        if own >= bounds.per_client:
            return f"process {client} has {own} connections open, which is the most: close some, and try again"
        if total >= bounds.connections and (own >= bounds.few or total >= bounds.connections + bounds.reserve):
            return f"{total} connections are open, which is the most: close some, and try again"
        return ""
