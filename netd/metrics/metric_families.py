"""Metrics as values, and their text form (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Buckets:
    """The value of a histogram: numbers of observations by class (the last is unbounded), and their sum."""

    counts: Sequence[int]
    total: float


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """All samples of one name.  Names of counters end with ``_total``; units are seconds and bytes."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    samples: Iterable[tuple[tuple[str, ...], float | Buckets]] = ()
    """Values by the values of the labels."""
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's classes, without the last."""


def single(name: str, kind: Literal["counter", "gauge"], meaning: str, value: float) -> MetricFamily:
    return MetricFamily(name, kind, meaning, (), [((), value)])


def text(families: Iterable[MetricFamily]) -> bytes:
    """Return the text form."""
    # Imported at the first scrape: installations without Prometheus do not pay for it.
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.exposition import generate_latest
    from prometheus_client.registry import Collector, CollectorRegistry

    class _Given(Collector):
        def collect(self) -> Iterable[Metric]:
            return map(converted, families)

    def converted(family: MetricFamily) -> Metric:
        if family.kind == "histogram":
            histogram = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
            for labels, value in family.samples:
                assert isinstance(value, Buckets)
                histogram.add_metric(labels, _cumulative(family.bounds, value.counts), value.total)
            return histogram
        kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
        found = kind(family.name, family.meaning, labels=family.labels)
        for labels, value in family.samples:
            assert not isinstance(value, Buckets)
            found.add_metric(labels, value)
        return found

    registry = CollectorRegistry()
    registry.register(_Given())
    return generate_latest(registry)


def _cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    found, total = [], 0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
