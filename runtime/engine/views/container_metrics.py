"""The metrics of netd-runtime: containers by state, and the resource usage of those that run.  Blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from netd.metrics.metric_families import MetricFamily, single
from runtime.engine.views.usage import Usage, sample

_USAGE: tuple[tuple[str, Literal["counter", "gauge"], str, Callable[[Usage], float]], ...] = (
    ("cpu_seconds_total", "counter", "Processor time.", lambda usage: usage.cpu.total / 1e9),
    ("memory_bytes", "gauge", "Memory in use.", lambda usage: float(usage.memory.used)),
    ("processes", "gauge", "Processes.", lambda usage: float(usage.processes)),
)


def collect(containers: Sequence[tuple[str, str, int]], images: int, volumes: int) -> Iterator[MetricFamily]:
    """Yield the metrics; *containers* are name, state, and pid (0 if it does not run)."""
    states = Counter((state,) for _, state, _ in containers)
    meaning = "Containers by state."
    yield MetricFamily("netd_runtime_containers", "gauge", meaning, ("state",), states.items())
    yield single("netd_runtime_images", "gauge", "Images.", images)
    yield single("netd_runtime_volumes", "gauge", "Volumes.", volumes)
    usages = dict(_usages(containers))
    for name, kind, meaning, value in _USAGE:
        samples = {(container,): value(usage) for container, usage in usages.items()}
        yield MetricFamily(f"netd_runtime_container_{name}", kind, meaning, ("container",), samples.items())


def _usages(containers: Sequence[tuple[str, str, int]]) -> Iterator[tuple[str, Usage]]:
    for name, _, pid in containers:
        if pid:
            try:
                yield name, sample(pid)
            except OSError:
                continue  # It has exited.
