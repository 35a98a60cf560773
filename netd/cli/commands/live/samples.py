"""Samples of ``GET /containers/{id}/stats`` as rows of a table.  Pure."""

from __future__ import annotations

from netd.cli.output.columns import short_id
from netd.cli.output.human import binary_size, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]

HEADERS = {
    "ID": "CONTAINER ID", "Container": "CONTAINER", "Name": "NAME", "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip


def stats_row(sample: Json, full: bool, share: float | None) -> dict[str, str]:
    """Return the row of one sample; *share* is the CPU usage in percent of one processor, None if it is not known."""
    memory = sample.get("memory_stats") or {}
    used, limit = memory_use(memory), memory.get("limit") or 0
    return {
        "ID": sample["id"] if full else short_id(sample["id"]),
        "Name": sample["name"].lstrip("/"),
        "CPUPerc": "--" if share is None else f"{share:.2f}%",
        "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "MemPerc": f"{100 * used / limit if limit else 0:.2f}%",
        "NetIO": _pair(*_network(sample.get("networks") or {})),
        "BlockIO": _pair(*_blocks(sample.get("blkio_stats") or {})),
        "PIDs": str((sample.get("pids_stats") or {}).get("current") or 0),
    }


def cpu_share(sample: Json, before: Mapping[str, Any] | None) -> float | None:
    """Return CPU usage since the sample *before* in percent of one processor; None without an earlier sample."""
    if before is None:
        return None
    now, earlier = sample.get("cpu_stats") or {}, before.get("cpu_stats") or {}
    used = _usage(now) - _usage(earlier)
    passed = (now.get("system_cpu_usage") or 0) - (earlier.get("system_cpu_usage") or 0)
    count = now.get("online_cpus") or 1
    return float(used) / passed * count * 100 if used > 0 and passed > 0 else 0.0


def memory_use(memory: Json) -> int:
    """Return the usage without reclaimable page cache, whose key differs between cgroup v1 and v2."""
    usage = int(memory.get("usage") or 0)
    inside = memory.get("stats") or {}
    cache = inside.get("total_inactive_file", inside.get("inactive_file", 0))
    return usage - cache if cache < usage else usage


def _usage(stats: Json) -> int:
    return int((stats.get("cpu_usage") or {}).get("total_usage") or 0)


def _network(networks: Json) -> tuple[int, int]:
    return sum(counters["rx_bytes"] for counters in networks.values()), sum(
        counters["tx_bytes"] for counters in networks.values()
    )


def _blocks(blkio: Json) -> tuple[int, int]:
    entries = blkio.get("io_service_bytes_recursive") or []
    read = sum(entry["value"] for entry in entries if entry["op"].lower() == "read")
    return read, sum(entry["value"] for entry in entries if entry["op"].lower() == "write")


def _pair(first: float, second: float) -> str:
    return f"{size(first)} / {size(second)}"
