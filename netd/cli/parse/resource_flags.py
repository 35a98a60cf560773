"""The flags of resource limits and of the restart policy, and their fields of request bodies."""

from __future__ import annotations

from netd.cli.parse.common_flags import pairs
from netd.cli.parse.flags import integer, many, switch, text
from netd.cli.parse.units import memory, memory_or_none, nano_cpus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from netd.cli.parse.flags import Options

    T = TypeVar("T")

    Json = dict[str, Any]

LIMITS = (
    text("cpus", "", "NUMBER", "Maximum number of CPUs, such as .5"),
    text("cpu-shares", "c", "NUMBER", "Relative CPU weight"),
    text("cpu-period", "", "MICROSECONDS", "Period of the CPU limit"),
    text("cpu-quota", "", "MICROSECONDS", "CPU time per period"),
    text("cpuset-cpus", "", "LIST", "CPUs to use, such as 0-2,4"),
    text("cpuset-mems", "", "LIST", "Memory nodes to use"),
    text("memory", "m", "BYTES", "Memory limit, such as 100m"),
    text("memory-swap", "", "BYTES", "Limit of memory plus swap; -1 for no limit"),
    text("memory-reservation", "", "BYTES", "Soft memory limit"),
    text("pids-limit", "", "NUMBER", "Limit of processes; -1 for no limit"),
    text("blkio-weight", "", "NUMBER", "Share of the time of block devices, 10 to 1000"),
    text("cpu-rt-period", "", "MICROSECONDS", "Period of the limit of real-time scheduling"),
    text("cpu-rt-runtime", "", "MICROSECONDS", "Real-time scheduling per period"),
)
"""Limits that can also be updated."""

ULIMIT = many("ulimit", "", "NAME=SOFT[:HARD]", "Resource limit of the processes")

OTHER_LIMITS = (
    text("oom-score-adj", "", "NUMBER", "Score for the kernel's out-of-memory killer (-1000 to 1000)"),
    ULIMIT,
    many("storage-opt", "", "size=SIZE", "Limit of the data of the root, with the storage driver btrfs"),
    many("sysctl", "", "NAME=VALUE", "Kernel parameter of the container's namespaces"),
    switch("oom-kill-disable", "", "Do not kill processes when the memory limit is reached"),
    text("memory-swappiness", "", "NUMBER", "Tendency to swap, 0 to 100"),
    many("blkio-weight-device", "", "DEVICE:WEIGHT", "Share of the time of one block device", values="file"),
    many("device-read-bps", "", "DEVICE:RATE", "Limit of bytes read each second", values="file"),
    many("device-write-bps", "", "DEVICE:RATE", "Limit of bytes written each second", values="file"),
    many("device-read-iops", "", "DEVICE:RATE", "Limit of reads each second", values="file"),
    many("device-write-iops", "", "DEVICE:RATE", "Limit of writes each second", values="file"),
    many("device-cgroup-rule", "", "RULE", "Rule of the devices controller, such as 'c 10:200 rwm'"),
    text("cgroup-parent", "", "PATH", "Control group above the container's own"),
)

RESTART = text(
    "restart",
    "",
    "POLICY",
    "Restart policy: no, always, unless-stopped, on-failure[:TIMES]",
    values="words:no always unless-stopped on-failure",
)


def limits(options: Options) -> Json:
    """Return the fields of LIMITS; zero and null stand for flags that are not given."""
    return {
        "NanoCpus": options.converted("cpus", nano_cpus),
        "CpuShares": options.number("cpu-shares") or 0,
        "CpuPeriod": options.number("cpu-period") or 0,
        "CpuQuota": options.number("cpu-quota") or 0,
        "CpuRealtimePeriod": options.number("cpu-rt-period") or 0,
        "CpuRealtimeRuntime": options.number("cpu-rt-runtime") or 0,
        "CpusetCpus": options.text("cpuset-cpus"),
        "CpusetMems": options.text("cpuset-mems"),
        "Memory": options.converted("memory", memory),
        "MemorySwap": options.converted("memory-swap", memory_or_none),
        "MemoryReservation": options.converted("memory-reservation", memory),
        "PidsLimit": options.number("pids-limit"),
        "BlkioWeight": options.number("blkio-weight") or 0,
    }


def other_limits(options: Options) -> Json:
    """Return the fields of OTHER_LIMITS."""
    return {
        "OomScoreAdj": options.number("oom-score-adj") or 0,
        "OomKillDisable": options.on("oom-kill-disable") or None,
        "MemorySwappiness": options.number("memory-swappiness"),
        "BlkioWeightDevice": convert_each(
            options, "blkio-weight-device", lambda word: _device(word, "Weight", integer)
        ),
        "BlkioDeviceReadBps": convert_each(options, "device-read-bps", lambda word: _device(word, "Rate", memory)),
        "BlkioDeviceWriteBps": convert_each(options, "device-write-bps", lambda word: _device(word, "Rate", memory)),
        "BlkioDeviceReadIOps": convert_each(options, "device-read-iops", lambda word: _device(word, "Rate", integer)),
        "BlkioDeviceWriteIOps": convert_each(options, "device-write-iops", lambda word: _device(word, "Rate", integer)),
        "DeviceCgroupRules": options.many("device-cgroup-rule"),
        "CgroupParent": options.text("cgroup-parent"),
        "Ulimits": ulimits(options),
        "StorageOpt": pairs(options.many("storage-opt")),
        "Sysctls": pairs(options.many("sysctl")),
    }


def restart_policy(options: Options) -> Json:
    """Return the policy of ``--restart``."""
    name, colon, times = options.text("restart", "no").partition(":")
    if name not in ("no", "always", "unless-stopped", "on-failure") or (colon and name != "on-failure"):
        raise options.refuse("restart", f"{name}{colon}{times}", "use no, always, unless-stopped or on-failure[:TIMES]")
    try:
        return {"Name": name, "MaximumRetryCount": integer(times) if colon else 0}
    except ValueError:
        raise options.refuse("restart", f"{name}:{times}", "maximum retry count must be a whole number") from None


def ulimits(options: Options) -> list[Json]:
    """Return the limits of ``--ulimit``."""
    return convert_each(options, "ulimit", _ulimit)


def _ulimit(word: str) -> Json:
    name, _, limits = word.partition("=")
    soft, colon, hard = limits.partition(":")
    try:
        low = integer(soft)
        return {"Name": name, "Soft": low, "Hard": integer(hard) if colon else low}
    except ValueError:
        raise ValueError("use NAME=SOFT[:HARD], such as nofile=1024:2048") from None


def _device(word: str, key: str, read: Callable[[str], int]) -> Json:
    path, colon, value = word.rpartition(":")
    try:
        if not colon or not path.startswith("/dev/"):
            raise ValueError
        return {"Path": path, key: read(value)}
    except ValueError:
        raise ValueError(f"use DEVICE:{key.upper()}, such as /dev/sda:100") from None


def convert_each(options: Options, name: str, convert: Callable[[str], T]) -> list[T]:
    converted = []
    for word in options.many(name):
        try:
            converted.append(convert(word))
        except ValueError as error:
            raise options.refuse(name, word, str(error)) from None
    return converted
