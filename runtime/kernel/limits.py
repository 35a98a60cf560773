"""Limits of a container as values of control group files.  Pure; small, because every shim loads it."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.spec import Limits

Write = tuple[str, str, str]
"""(controller, file, value)."""

DEFAULT_PERIOD = 100_000

_DEVICES1 = {
    "weight": "blkio.bfq.weight_device",
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}
_DEVICES2 = {
    "weight": ("io.bfq.weight", ""),
    "rbps": ("io.max", "rbps="),
    "wbps": ("io.max", "wbps="),
    "riops": ("io.max", "riops="),
    "wiops": ("io.max", "wiops="),
}
"""The file, and with version 2 the text before the value, of each kind of limit."""


def version1(limits: Limits) -> list[Write]:
    """Return the writes for version 1 controllers, in the order for a new group.

    In a group in use, one of a pair (period and quota, memory and memory with swap) may be refused with EINVAL; it must
    then be written after the other.
    """
    wanted: list[tuple[str, str, object]] = [
        ("cpuset", "cpuset.cpus", limits.cpuset_cpus or None),
        ("cpuset", "cpuset.mems", limits.cpuset_mems or None),
        ("cpu", "cpu.shares", limits.cpu_shares),
        ("cpu", "cpu.cfs_period_us", limits.cpu_period),
        ("cpu", "cpu.cfs_quota_us", limits.cpu_quota),
        ("cpu", "cpu.rt_period_us", limits.cpu_realtime_period),
        ("cpu", "cpu.rt_runtime_us", limits.cpu_realtime_runtime),
        ("memory", "memory.limit_in_bytes", limits.memory),
        ("memory", "memory.memsw.limit_in_bytes", limits.memory_swap),
        ("memory", "memory.soft_limit_in_bytes", limits.memory_reservation),
        ("memory", "memory.swappiness", limits.memory_swappiness),
        ("memory", "memory.kmem.tcp.limit_in_bytes", limits.kernel_memory_tcp),
        ("memory", "memory.oom_control", 1 if limits.oom_kill_disable else None),
        ("blkio", "blkio.bfq.weight", limits.blkio_weight),
        ("pids", "pids.max", _count(limits.pids)),
    ]
    return [(controller, file, str(value)) for controller, file, value in wanted if value is not None]


def version2(limits: Limits) -> list[Write]:
    """Return the writes for version 2 controllers."""
    wanted: list[tuple[str, str, object]] = [
        ("cpuset", "cpuset.cpus", limits.cpuset_cpus or None),
        ("cpuset", "cpuset.mems", limits.cpuset_mems or None),
        ("cpu", "cpu.weight", None if limits.cpu_shares is None else weight(limits.cpu_shares)),
        ("cpu", "cpu.max", _bandwidth(limits)),
        ("memory", "memory.max", limits.memory),
        ("memory", "memory.swap.max", _swap(limits)),
        ("memory", "memory.low", _reservation(limits.memory_reservation)),
        ("io", "io.bfq.weight", limits.blkio_weight),
        ("pids", "pids.max", _count(limits.pids)),
    ]
    return [(controller, file, str(value)) for controller, file, value in wanted if value is not None]


def devices(limits: Limits, version: int) -> list[tuple[str, str, str, str]]:
    """Return (controller, file, path of the device, value after the device number) of the limits of block devices.

    The value 0 removes a limit.
    """
    if version == 2:
        return [
            (
                "io",
                _DEVICES2[kind][0],
                path,
                f"{_DEVICES2[kind][1]}{value or 'max'}" if kind != "weight" else f"{value}",
            )
            for kind, path, value in limits.blkio_devices
        ]
    return [("blkio", _DEVICES1[kind], path, str(value)) for kind, path, value in limits.blkio_devices]


def weight(shares: int) -> int:
    """Return the version 2 weight for version 1 *shares*, as runc converts it: 2 → 1, 1024 → 100, 262144 → 10000."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def _reservation(size: int | None) -> int | None:
    return size if size is None else max(size, 0)


def _bandwidth(limits: Limits) -> str | None:
    if limits.cpu_quota is None and limits.cpu_period is None:
        return None
    quota = limits.cpu_quota if limits.cpu_quota and limits.cpu_quota > 0 else "max"
    return f"{quota} {limits.cpu_period or DEFAULT_PERIOD}"


def _swap(limits: Limits) -> str | None:
    if limits.memory_swap is None:
        return None
    return "max" if limits.memory_swap < 0 else str(max(limits.memory_swap - (limits.memory or 0), 0))


def _count(pids: int | None) -> str | None:
    return None if pids is None else str(pids) if pids > 0 else "max"
