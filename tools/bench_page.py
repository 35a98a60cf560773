"""The results as text: a table for the terminal, and docs/benchmarks.md."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_engine import Engine
from bench_groups.figures import FIGURES

_HEAD = """# Benchmarks

Written by `tools/bench --write docs/benchmarks.md`. All engines of a group were measured in one run on one
machine, engine after engine within each round, so that the load of the machine is shared; values are medians. **Only
the ratios can be compared with other machines**: `× NAME` is how many times better netd's value is than that of NAME
(below 1: worse). An empty cell was not measured.
"""
_NOTES = """
## What is measured

- Engines are called through Docker's API by docker-py, one call after the other. Each has a network namespace that
  stands for its host.
- *floor*: the kernel's part alone. For the control plane, the same netlink requests in a straight line, with one fsync
  for the record of a network; for packets and connections, a bare veth pair; for forwarded names, the upstream server
  asked directly.
- *crun* runs `true` without a network, from an unpacked root file system, without layers, logs or an API.
  *CNI bridge* is the plugin `bridge` with `host-local`, one process per call, without a firewall. *dnsmasq* is asked at
  loopback, as its server is. CoreDNS is not in Debian.
- Forwarded names are all different, and the server answers at once. `answers/s` are those of dnsperf with 4 sockets and
  100 outstanding queries; the client and the servers share the machine's processors. Round trips are one client with
  one query or byte at a time.
- netd's packets and connections are those of direct delivery (docs/firewall.md), without br_netfilter, which Docker
  switches on.
- Packets are UDP datagrams of 64 bytes of iperf3, counted at the receiver. Connections are opened and closed one after
  the other.
- Memory is the proportional set size of all processes of the host's namespace.
- Figures beside many containers or networks, and of restarts, are netd's alone.
"""


@dataclass(frozen=True, slots=True)
class GroupRun:
    """The measurement of one group."""

    date: str
    """UTC, at its end."""
    seconds: float
    loads: Sequence[float]
    """Load averages of a minute, at its begin and end."""
    figures: Sequence[str]
    """The names of what it has measured."""


def table(engines: Sequence[Engine]) -> Iterable[tuple[str, str, list[str]]]:
    """Yield part, figure, and cells: the target, the engines' medians, and netd's advantage over each other engine."""
    ours = next(engine for engine in engines if engine.name == "netd")
    others = [engine for engine in engines if engine is not ours]
    for name, figure in FIGURES.items():
        values = [engine.median(name) for engine in (ours, *others)]
        if all(map(math.isnan, values)):
            continue
        ratios = [_ratio(values[0], value, figure.is_rate) for value in values[1:]]
        yield figure.part, name, [_number(figure.target or math.nan), *map(_number, values), *map(_times, ratios)]


def heads(engines: Sequence[Engine]) -> list[str]:
    others = [engine.name for engine in engines if engine.name != "netd"]
    return ["goal", "netd", *others, *(f"× {name}" for name in others)]


def text(engines: Sequence[Engine]) -> str:
    """Return the table for the terminal."""
    lines = [f"{'median':58}" + "".join(f"{head:>13}" for head in heads(engines))]
    lines += [f"{name:58}" + "".join(f"{cell:>13}" for cell in cells) for _, name, cells in table(engines)]
    return "\n".join(lines)


def page(engines: Sequence[Engine], runs: Mapping[str, GroupRun], skipped: Sequence[str]) -> str:
    """Return docs/benchmarks.md; *runs* are the measured groups by name."""
    parts = [_HEAD, _machine(engines), *_when(runs)]
    if skipped:
        parts.append(f"- Not measured for lack of time: {', '.join(skipped)}.\n")
    last = ""
    for part, name, cells in table(engines):
        if part != last:
            last, top = part, heads(engines)
            parts.append(
                f"\n## {part}\n\n| median | {' | '.join(top)} |\n| --- | {' | '.join(['---:'] * len(top))} |\n"
            )
        parts.append(f"| {name} | {' | '.join(cells)} |\n")
    return "".join([*parts, _NOTES])


def _when(runs: Mapping[str, GroupRun]) -> Iterable[str]:
    """Yield the times and loads of the groups: those of separate runs are not alike."""
    found = (
        f"{name} {run.date} ({run.seconds:.0f} s, load {' to '.join(f'{load:.1f}' for load in run.loads)})"
        for name, run in runs.items()
    )
    yield f"- Groups, with the time of their end (UTC), duration and load average: {'; '.join(found)}.\n"


def _machine(engines: Sequence[Engine]) -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // (1 << 20)
    versions = ", ".join(f"{engine.name} {version}" for engine in engines if (version := engine.version()))
    return (
        f"\n- Machine: {os.cpu_count()} × {model}, {memory} GiB; kernel {platform.release()}; "
        f"Python {platform.python_version()}\n"
        f"- Versions: {versions}\n"
    )


def _ratio(ours: float, theirs: float, is_rate: bool) -> float:
    above, below = (ours, theirs) if is_rate else (theirs, ours)
    return above / below if below > 0 and above > 0 else math.nan


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _times(ratio: float) -> str:
    return "" if math.isnan(ratio) else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"
