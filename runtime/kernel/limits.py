"""Limits of a container as values of control group files.  Pure; small, because every shim loads it."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.spec import Limits

Write = tuple[str, str, str]
"""(controller, file, value)."""

DEFAULT_PERIOD = 100_000


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
        ("memory", "memory.limit_in_bytes", limits.memory),
        ("memory", "memory.memsw.limit_in_bytes", limits.memory_swap),
        ("memory", "memory.soft_limit_in_bytes", limits.memory_reservation),
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
        ("memory", "memory.low", limits.memory_reservation),
        ("pids", "pids.max", _count(limits.pids)),
    ]
    return [(controller, file, str(value)) for controller, file, value in wanted if value is not None]


def weight(shares: int) -> int:
    """Return the version 2 weight for version 1 *shares*, as runc converts it: 2 → 1, 1024 → 100, 262144 → 10000."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


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
