"""Counts of what netd-dns has done since its start; netd reads them with each confirmation."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

BOUNDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0)
"""Seconds: upper bounds of the classes of upstream latency; the last class has no bound."""
OUTCOMES = ("records", "cache", "upstream", "failed", "dropped")
"""Answered from the records, from the cache, by an upstream server, with a failure, or not at all."""


class DnsCounters:
    """Integers that only grow."""

    __slots__ = ("latency", "latency_sum", "outcomes")

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.latency = [0] * (len(BOUNDS) + 1)
        self.latency_sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one query that upstream servers answered after *seconds*."""
        self.latency[bisect_left(BOUNDS, seconds)] += 1
        self.latency_sum += seconds

    def snapshot(self) -> DnsSnapshot:
        return {**self.outcomes, "latency": list(self.latency), "latency_sum": self.latency_sum}


DnsSnapshot = Mapping[str, "int | float | list[int]"]
"""The counters by name; ``latency`` has the numbers of queries by class, ``latency_sum`` their seconds."""
