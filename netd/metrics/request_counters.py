"""Counts and durations of the requests that a daemon has answered."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator

from netd.metrics.metric_families import Buckets, MetricFamily

BOUNDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Seconds: upper bounds of the classes of durations."""


class RequestCounters:
    """Requests by method, route and status; a route is the pattern of the path, so that their number is bounded."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._classes: dict[tuple[str, str], list[int]] = {}
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; *seconds* until its response was complete or, for streams, until its end."""
        self._counts[method, route, str(status)] += 1
        key = (method, route)
        classes = self._classes.get(key)
        if classes is None:
            classes = self._classes[key] = [0] * (len(BOUNDS) + 1)
        classes[bisect_left(BOUNDS, seconds)] += 1
        self._seconds[key] += seconds

    def families(self, prefix: str) -> Iterator[MetricFamily]:
        labels = ("method", "route", "status")
        yield MetricFamily(f"{prefix}_requests_total", "counter", "Requests answered.", labels, self._counts.items())
        yield MetricFamily(
            f"{prefix}_request_seconds",
            "histogram",
            "Time from a request to the end of its response.",
            ("method", "route"),
            [(key, Buckets(tuple(counts), self._seconds[key])) for key, counts in self._classes.items()],
            BOUNDS,
        )
