"""Resource usage of a container, from its control groups and its network namespace.

Supports control groups of versions 1 and 2; values that the host does not count are 0.  All functions block.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runtime.kernel import cgroup_files, proc

_TICKS = os.sysconf("SC_CLK_TCK")
_NANOSECONDS = 10**9
_UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUsage:
    """CPU time in nanoseconds, and counts of CFS periods and throttled periods."""

    total: int = 0
    kernel: int = 0
    user: int = 0
    periods: int = 0
    throttled: int = 0
    throttled_time: int = 0
    by_cpu: tuple[int, ...] = ()
    """By CPU, with version 1 only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUsage:
    """Memory in bytes; ``limit`` is the host's memory if no limit is set."""

    used: int = 0
    most_used: int = 0
    """The largest ``used`` so far."""
    limit: int = 0
    details: Mapping[str, int] = field(default_factory=dict)


BlockCount = tuple[int, int, str, int]
"""(major and minor number of a block device; operation in lower case; count)."""

_OPERATIONS = {"rbytes": "read", "wbytes": "write", "rios": "read", "wios": "write"}
"""Operation by key of version 2's io.stat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One sample of a container's resource usage."""

    sampled_at: int
    """Nanoseconds since 1970; 0 for a sample of a container that does not run."""
    cpu: CpuUsage = CpuUsage()
    host_cpu: int = 0
    """CPU time of the whole host, in nanoseconds."""
    memory: MemoryUsage = field(default_factory=MemoryUsage)
    block_bytes: tuple[BlockCount, ...] = ()
    block_operations: tuple[BlockCount, ...] = ()
    processes: int = 0
    networks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def sample(pid: int) -> Usage:
    """Return the usage of the container of the process *pid*.  Raises FileNotFoundError when it has exited."""
    groups = cgroup_files.directories(pid)
    return Usage(
        sampled_at=time.time_ns(),
        cpu=_cpu_v1(groups) if "cpuacct" in groups else _cpu_v2(groups),
        host_cpu=_host_cpu(),
        memory=_memory(groups),
        block_bytes=_block(groups, "blkio.throttle.io_service_bytes_recursive", ("rbytes", "wbytes")),
        block_operations=_block(groups, "blkio.throttle.io_serviced_recursive", ("rios", "wios")),
        processes=_number(groups, "pids", "pids.current") or _process_count(groups),
        networks=dict(_networks(pid)),
    )


def _cpu_v1(groups: Mapping[str, str]) -> CpuUsage:
    times = _table(groups, "cpuacct", "cpuacct.stat")
    throttling = _table(groups, "cpu", "cpu.stat")
    return CpuUsage(
        total=_number(groups, "cpuacct", "cpuacct.usage"),
        kernel=times.get("system", 0) * _NANOSECONDS // _TICKS,
        user=times.get("user", 0) * _NANOSECONDS // _TICKS,
        periods=throttling.get("nr_periods", 0),
        throttled=throttling.get("nr_throttled", 0),
        throttled_time=throttling.get("throttled_time", 0),
        by_cpu=tuple(map(int, _read(groups, "cpuacct", "cpuacct.usage_percpu").split())),
    )


def _cpu_v2(groups: Mapping[str, str]) -> CpuUsage:
    times = _table(groups, "", "cpu.stat")
    return CpuUsage(
        total=times.get("usage_usec", 0) * 1000,
        kernel=times.get("system_usec", 0) * 1000,
        user=times.get("user_usec", 0) * 1000,
        periods=times.get("nr_periods", 0),
        throttled=times.get("nr_throttled", 0),
        throttled_time=times.get("throttled_usec", 0) * 1000,
    )


def _memory(groups: Mapping[str, str]) -> MemoryUsage:
    version1 = "memory" in groups
    controller = "memory" if version1 else ""
    limit = _number(groups, controller, "memory.limit_in_bytes" if version1 else "memory.max")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return MemoryUsage(
        used=_number(groups, controller, "memory.usage_in_bytes" if version1 else "memory.current"),
        most_used=_number(groups, controller, "memory.max_usage_in_bytes" if version1 else "memory.peak"),
        limit=limit if 0 < limit < _UNLIMITED else total,
        details=_table(groups, controller, "memory.stat"),
    )


def _block(groups: Mapping[str, str], name: str, keys: tuple[str, ...]) -> tuple[BlockCount, ...]:
    """Return the counts of version 1's file *name*, or those of *keys* in version 2's io.stat."""
    found: list[BlockCount] = []
    for line in _read(groups, "blkio", name).splitlines():
        device, _, rest = line.partition(" ")
        operation, _, count = rest.partition(" ")
        if ":" in device and count.isdecimal():
            found.append((*_device(device), operation.lower(), int(count)))
    for line in _read(groups, "", "io.stat").splitlines():
        device, *words = line.split()
        counts = dict(word.split("=", 1) for word in words if "=" in word)
        found += [(*_device(device), _OPERATIONS[key], int(counts[key])) for key in keys if key in counts]
    return tuple(found)


def _device(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(":")
    return int(major), int(minor)


def _read(groups: Mapping[str, str], controller: str, name: str) -> str:
    return cgroup_files.read(groups[controller], name) if controller in groups else ""


def _number(groups: Mapping[str, str], controller: str, name: str) -> int:
    text = (_read(groups, controller, name) or _read(groups, "", name)).strip()
    return int(text) if text.isdecimal() else 0


def _table(groups: Mapping[str, str], controller: str, name: str) -> dict[str, int]:
    pairs = (line.split() for line in _read(groups, controller, name).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _process_count(groups: Mapping[str, str]) -> int:
    return max((len(_read(groups, name, "cgroup.procs").split()) for name in groups), default=0)


def _host_cpu() -> int:
    return sum(map(int, proc.host_cpu_line().split()[1:9])) * _NANOSECONDS // _TICKS


_COLUMNS = {0: "rx_bytes", 1: "rx_packets", 2: "rx_errors", 3: "rx_dropped"} | {
    8: "tx_bytes",
    9: "tx_packets",
    10: "tx_errors",
    11: "tx_dropped",
}


def _networks(pid: int) -> Iterator[tuple[str, dict[str, int]]]:
    for line in proc.network_devices(pid).splitlines()[2:]:
        name, _, counters = line.partition(":")
        values = counters.split()
        if name.strip() != "lo":
            yield name.strip(), {title: int(values[column]) for column, title in _COLUMNS.items()}
