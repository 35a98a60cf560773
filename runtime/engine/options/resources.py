"""Resource limits of a container: validation, and translation into control group values and rlimits.  Pure."""

from __future__ import annotations

import re

import msgspec

from netd.common.errors import BadRequest
from runtime.container_config import HostConfig, ThrottleDevice, Ulimit
from runtime.kernel import rlimits as rlimit_table
from runtime.kernel.host_support import HostSupport
from runtime.spec import Limits

_SMALLEST_MEMORY = 6 << 20
_PERIOD = 100_000
_CPUSET = re.compile(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*\Z", re.ASCII)
_THROTTLES = {
    "blkio_device_read_bps": "rbps",
    "blkio_device_write_bps": "wbps",
    "blkio_device_read_iops": "riops",
    "blkio_device_write_iops": "wiops",
}
"""Kind of limit in :class:`runtime.spec.Limits` by field."""
_DISCARDED = {
    "blkio_device_read_bps": "BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit",
    "blkio_device_write_bps": "BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit",
    "blkio_device_read_iops": "IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit",
    "blkio_device_write_iops": "IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit",
}
_DEVICE_RULE = re.compile(r"[acb] ([0-9]{1,7}|\*):([0-9]{1,7}|\*) [rwm]{1,3}\Z")


def adjusted(host: HostConfig, support: HostSupport) -> tuple[HostConfig, list[str]]:
    """Return *host* without the limits that the kernel does not support, and Docker's warnings about these.

    Values that stand for the default become the default.
    """
    unset: dict[str, object] = {"kernel_memory": 0}
    warnings = []
    if host.memory > 0 and not host.memory_swap:
        unset["memory_swap"] = 2 * host.memory
    if host.memory_swappiness == -1:
        unset["memory_swappiness"] = None
    elif host.memory_swappiness is not None and not support.swappiness:
        unset["memory_swappiness"] = None
        warnings.append(_discarded("memory swappiness capabilities or the cgroup is not mounted. Memory swappiness"))
    if host.kernel_memory_tcp > 0 and not support.kernel_memory_tcp:
        unset["kernel_memory_tcp"] = 0
        warnings.append(_discarded("kernel memory TCP limit capabilities or the cgroup is not mounted. Limitation"))
    if host.pids_limit is not None and host.pids_limit <= 0:
        unset["pids_limit"] = None
    if host.cpu_percent > 0:
        unset["cpu_percent"] = 0
        warnings.append("linux does not support CPU percent. Percent discarded.")
    warnings += [*_adjust_oom(host, support, unset), *_adjust_block(host, support, unset)]
    return msgspec.structs.replace(host, **unset), warnings


def adjusted_update(host: HostConfig, support: HostSupport) -> tuple[HostConfig, list[str]]:
    """Do what :func:`adjusted` does for the values of an update, in which only limits of block devices may go."""
    unset: dict[str, object] = {}
    warnings = _adjust_block(host, support, unset)
    return msgspec.structs.replace(host, **unset), warnings


def _discarded(what: str) -> str:
    return f"Your kernel does not support {what} discarded."


def _adjust_oom(host: HostConfig, support: HostSupport, unset: dict[str, object]) -> list[str]:
    if not host.oom_kill_disable:
        unset["oom_kill_disable"] = False if support.oom_kill_disable else None
        return []
    if not support.oom_kill_disable:
        unset["oom_kill_disable"] = None
        return ["Your kernel does not support OomKillDisable. OomKillDisable discarded."]
    if host.memory:
        return []
    return [
        "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running"
        " out of resources."
    ]


def _adjust_block(host: HostConfig, support: HostSupport, unset: dict[str, object]) -> list[str]:
    warnings = []
    if host.blkio_weight and not support.block_weight:
        unset["blkio_weight"] = 0
        warnings.append(_discarded("Block I/O weight or the cgroup is not mounted. Weight"))
    if host.blkio_weight_device and not support.block_weight:
        unset["blkio_weight_device"] = []
        warnings.append(_discarded("Block I/O weight_device or the cgroup is not mounted. Weight-device"))
    for name, text in _DISCARDED.items():
        if getattr(host, name) and not support.block_limits:
            unset[name] = []
            warnings.append(_discarded(text))
    return warnings


def limits(host: HostConfig, cpus: int, nodes: str = "0", *, update: bool = False) -> Limits:
    """Return the control group limits on a host with *cpus* CPUs and the memory *nodes*.

    With *update*, the values are those of an update: memory with swap may be given alone.  Raises BadRequest with
    Docker's messages.
    """
    _check_memory(host, update=update)
    _check_block(host)
    period, quota = _cpu(host, cpus)
    if host.cpu_shares < 0:
        raise BadRequest(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise BadRequest(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host.cpu_realtime_period and host.cpu_realtime_runtime > host.cpu_realtime_period:
        raise BadRequest("cpu real-time runtime cannot be higher than cpu real-time period")
    return Limits(
        cpu_period=period,
        cpu_quota=quota,
        cpu_shares=host.cpu_shares or None,
        cpuset_cpus=_cpuset(host.cpuset_cpus, "cpuset cpus", "CPUs", f"0-{cpus - 1}"),
        cpuset_mems=_cpuset(host.cpuset_mems, "cpuset mems", "memory nodes", nodes),
        memory=host.memory or None,
        memory_swap=_memory_swap(host, update=update),
        memory_reservation=host.memory_reservation or None,
        memory_swappiness=None if host.memory_swappiness == -1 else host.memory_swappiness,
        kernel_memory_tcp=host.kernel_memory_tcp or None,
        oom_kill_disable=bool(host.oom_kill_disable),
        cpu_realtime_period=host.cpu_realtime_period or None,
        cpu_realtime_runtime=host.cpu_realtime_runtime or None,
        pids=host.pids_limit if host.pids_limit and host.pids_limit > 0 else None,
        blkio_weight=host.blkio_weight or None,
        blkio_devices=_block_devices(host),
        device_rules=tuple(_device_rule(rule) for rule in host.device_cgroup_rules or ()),
    )


def _block_devices(host: HostConfig) -> tuple[tuple[str, str, int], ...]:
    weights = [("weight", device.path, device.weight) for device in host.blkio_weight_device or ()]
    throttles: list[tuple[str, str, int]] = []
    for name, kind in _THROTTLES.items():
        devices: list[ThrottleDevice] = getattr(host, name) or []
        throttles += [(kind, device.path, device.rate) for device in devices]
    return (*weights, *throttles)


def _check_block(host: HostConfig) -> None:
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise BadRequest("Range of blkio weight is from 10 to 1000")
    for kind, path, value in _block_devices(host):
        if not path.startswith("/dev/") or "/../" in f"{path}/":
            raise BadRequest(f"invalid block device {path!r}: use the path of a device such as /dev/sda")
        if kind == "weight" and not 10 <= value <= 1000:
            raise BadRequest(f"Range of blkio weight is from 10 to 1000: {path} has {value}")
    if host.io_maximum_iops:
        raise BadRequest("invalid option: QoS maximum IOPs configuration is not supported on linux")
    if host.io_maximum_bandwidth:
        raise BadRequest("invalid option: QoS maximum bandwidth configuration is not supported on linux")


def rlimits(ulimits: list[Ulimit] | None) -> tuple[tuple[int, int, int], ...]:
    """Return (resource, soft, hard) of each ulimit; -1 is unlimited."""
    return tuple(_rlimit(ulimit) for ulimit in ulimits or ())


def _rlimit(ulimit: Ulimit) -> tuple[int, int, int]:
    if ulimit.name not in rlimit_table.NUMBERS:
        raise BadRequest(f"invalid ulimit type: {ulimit.name}")
    if ulimit.soft < -1 or ulimit.hard < -1:
        raise BadRequest(
            f"ulimit {ulimit.name} must be a number, or -1 for no limit: soft {ulimit.soft}, hard {ulimit.hard}"
        )
    if ulimit.hard != -1 and (ulimit.soft == -1 or ulimit.soft > ulimit.hard):
        raise BadRequest(
            f"ulimit soft limit must be less than or equal to hard limit: soft {ulimit.soft}, hard {ulimit.hard}"
        )
    return (rlimit_table.NUMBERS[ulimit.name], ulimit.soft, ulimit.hard)


def _check_memory(host: HostConfig, *, update: bool) -> None:
    memory, swap, reservation = host.memory, host.memory_swap, host.memory_reservation
    if memory < 0 or 0 < memory < _SMALLEST_MEMORY:
        raise BadRequest("Minimum memory limit allowed is 6MB")
    if swap < -1:
        raise BadRequest("the memory and swap limit must be -1 for no limit, or a number of bytes")
    if swap > 0 and not memory and not update:
        raise BadRequest("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < swap < memory:
        raise BadRequest("Minimum memoryswap limit should be larger than memory limit, see usage")
    if 0 < reservation < _SMALLEST_MEMORY:
        raise BadRequest("Minimum memory reservation allowed is 6MB")
    if memory and reservation > memory:
        raise BadRequest("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host.memory_swappiness is not None and not -1 <= host.memory_swappiness <= 100:
        raise BadRequest(f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100")
    if host.shm_size < 0:
        raise BadRequest("SHM size can not be less than 0")


def _memory_swap(host: HostConfig, *, update: bool) -> int | None:
    if not host.memory:
        return (host.memory_swap or None) if update else None
    return host.memory_swap or 2 * host.memory


def _cpu(host: HostConfig, cpus: int) -> tuple[int | None, int | None]:
    period, quota = host.cpu_period, host.cpu_quota
    if host.nano_cpus:
        return _cpu_of_nano_cpus(host, cpus)
    if period and not 1000 <= period <= 1_000_000:
        raise BadRequest("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if quota > 0 and quota < 1000:
        raise BadRequest("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    return (period or (_PERIOD if quota > 0 else None), quota if quota > 0 else None)


def _cpu_of_nano_cpus(host: HostConfig, cpus: int) -> tuple[int, int]:
    if host.cpu_period:
        raise BadRequest("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if host.cpu_quota:
        raise BadRequest("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if not 10**7 <= host.nano_cpus <= cpus * 10**9:
        raise BadRequest(f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    return (_PERIOD, host.nano_cpus * _PERIOD // 10**9)


def _cpuset(text: str, what: str, kind: str, available: str) -> str:
    """Return *text* if its numbers are among *available*, a list of numbers and ranges as the kernel writes it."""
    if not text:
        return ""
    if not _CPUSET.match(text):
        raise BadRequest(f"Invalid value {text} for {what}: invalid format: {text}")
    present = _ranges(available)
    if any(not any(low <= first and last <= high for low, high in present) for first, last in _ranges(text)):
        raise BadRequest(f"Requested {kind} are not available - requested {text}, available: {available}")
    return text


def _ranges(text: str) -> list[tuple[int, int]]:
    bounds = [part.partition("-") for part in text.split(",")]
    return [(int(first), int(last or first)) for first, _, last in bounds]


def _device_rule(text: str) -> str:
    if not _DEVICE_RULE.match(text):
        raise BadRequest(f"invalid device cgroup rule format: '{text}'")
    return text
