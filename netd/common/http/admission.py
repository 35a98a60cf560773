"""How many connections a daemon keeps open, in all and per client.  Pure.

A client is a process, by its id.  One that opens too many is refused; when all places are taken, clients with few
connections still get one of the reserve, so that a flood does not lock anybody out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may keep open, and for how long without getting on with it."""

    connections: int = 4096
    per_client: int = 1024
    reserve: int = 256
    few: int = 8
    """A client with fewer connections is let into the reserve."""
    idle_seconds: float = 75.0
    """Of a connection without a request."""
    head_seconds: float = 20.0
    """From the first byte of a request's head to its last."""
    head_bytes: int = 1 << 20
    stalled_seconds: float = 120.0
    """Without the client taking any of an answer that ends."""


class Admission:
    """Counts connections."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._open: Counter[int] = Counter()
        self._warned: set[int] = set()

    def enter(self, client: int) -> str:
        """Count a connection until it :meth:`leaves <leave>`; return why it is refused, "" when it is not."""
        refusal = self._refusal(client)
        self._open[client] += 1
        return refusal

    def leave(self, client: int) -> None:
        self._open[client] -= 1
        if self._open[client] <= 0:
            del self._open[client]
            self._warned.discard(client)

    def first_refusal(self, client: int) -> bool:
        """Whether *client* is refused for the first time since it had no connection, so that a log names it once."""
        known = client in self._warned
        self._warned.add(client)
        return not known

    def is_flooded_by(self, client: int) -> bool:
        """Whether not even the requests of refused connections are to be read."""
        bounds = self._bounds
        all_ = self._open.total()
        return self._open[client] > 2 * bounds.per_client or all_ > bounds.connections + 2 * bounds.reserve

    def _refusal(self, client: int) -> str:
        bounds, mine, all_ = self._bounds, self._open[client], self._open.total()
        if mine >= bounds.per_client:
            return f"process {client} has {mine} connections open, which is the most: close some, and try again"
        if all_ >= bounds.connections and (mine >= bounds.few or all_ >= bounds.connections + bounds.reserve):
            return f"{all_} connections are open, which is the most: close some, and try again"
        return ""
