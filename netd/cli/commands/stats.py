"""``stats``: prints one sample of the resource usage of containers."""

from __future__ import annotations

import sys

from netd.cli.output.columns import short_id, table
from netd.cli.output.human import binary_size, size
from netd.cli.parse.common_flags import wants_json
from netd.cli.parse.flags import Command, switch, text
from netd.cli.session import print_json, request_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]

_HEAD = ("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS")


def stats(session: Session, options: Options) -> int:
    """Request the samples concurrently, because the daemon measures CPU usage over one second."""
    samples: list[Json] = []
    names = options.args or [running["Id"] for running in session.engine.get("/containers/json")]
    code = request_each(
        names,
        lambda name: session.engine.send("GET", f"/containers/{name}/stats", query=(("stream", "false"),)),
        lambda name, sample: samples.append(sample),
    )
    if wants_json(options):
        print_json(samples)
        return code
    full = options.on("no-trunc")
    sys.stdout.write(table(_HEAD, (row(sample, full) for sample in samples)))
    return code


def row(sample: Json, full: bool) -> list[str]:
    """Return the table row of one sample of the API."""
    memory = sample.get("memory_stats") or {}
    used, limit = memory_use(memory), memory.get("limit") or 0
    return [
        sample["id"] if full else short_id(sample["id"]),
        sample["name"].lstrip("/"),
        f"{cpu_percent(sample):.2f}%",
        f"{binary_size(used)} / {binary_size(limit)}",
        f"{100 * used / limit if limit else 0:.2f}%",
        _pair(*_network(sample.get("networks") or {})),
        _pair(*_blocks(sample.get("blkio_stats") or {})),
        str((sample.get("pids_stats") or {}).get("current") or 0),
    ]


def cpu_percent(sample: Json) -> float:
    """Return CPU usage between the previous sample and this one in percent of one processor."""
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}
    used = _usage(now) - _usage(before)
    passed = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
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


COMMANDS = {
    "stats": Command(
        "stats [FLAGS] [CONTAINER...]",
        stats,
        (
            text("format", "", "json|table", "Output format", values="words:json table"),
            switch("no-trunc", "", "Print ids in full"),
            switch("no-stream", "", "Accepted for compatibility; stats always prints one sample"),
        ),
        completions=("running",),
    )
}
