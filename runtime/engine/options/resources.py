"""Resource limits of a container: validation, and translation into control group values and rlimits.  Pure."""

from __future__ import annotations

import re

from netd.common.errors import BadRequest
from runtime.container_config import HostConfig, Ulimit
from runtime.kernel import rlimits as rlimit_table
from runtime.spec import Limits

_SMALLEST_MEMORY = 6 << 20
_PERIOD = 100_000
_CPUSET = re.compile(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*\Z", re.ASCII)
_DEVICE_RULE = re.compile(r"[acb] ([0-9]{1,7}|\*):([0-9]{1,7}|\*) [rwm]{1,3}\Z")


def limits(host: HostConfig, cpus: int) -> Limits:
    """Return the control group limits on a host with *cpus* CPUs.  Raises BadRequest with Docker's messages."""
    _check_memory(host)
    period, quota = _cpu(host, cpus)
    if host.cpu_shares < 0:
        raise BadRequest(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise BadRequest(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    return Limits(
        cpu_period=period,
        cpu_quota=quota,
        cpu_shares=host.cpu_shares or None,
        cpuset_cpus=_cpuset(host.cpuset_cpus, "cpuset cpus", cpus),
        cpuset_mems=_cpuset(host.cpuset_mems, "cpuset mems", None),
        memory=host.memory or None,
        memory_swap=_memory_swap(host),
        memory_reservation=host.memory_reservation or None,
        pids=host.pids_limit if host.pids_limit and host.pids_limit > 0 else None,
        device_rules=tuple(_device_rule(rule) for rule in host.device_cgroup_rules or ()),
    )


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


def _check_memory(host: HostConfig) -> None:
    memory, swap, reservation = host.memory, host.memory_swap, host.memory_reservation
    if memory < 0 or 0 < memory < _SMALLEST_MEMORY:
        raise BadRequest("Minimum memory limit allowed is 6MB")
    if swap < -1:
        raise BadRequest("the memory and swap limit must be -1 for no limit, or a number of bytes")
    if swap > 0 and not memory:
        raise BadRequest("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < swap < memory:
        raise BadRequest("Minimum memoryswap limit should be larger than memory limit, see usage")
    if reservation < 0 or 0 < reservation < _SMALLEST_MEMORY:
        raise BadRequest("Minimum memory reservation allowed is 6MB")
    if memory and reservation > memory:
        raise BadRequest("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host.shm_size < 0:
        raise BadRequest("SHM size can not be less than 0")


def _memory_swap(host: HostConfig) -> int | None:
    if not host.memory:
        return None
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


def _cpuset(text: str, what: str, cpus: int | None) -> str:
    if not text:
        return ""
    if not _CPUSET.match(text):
        raise BadRequest(f"Invalid value {text} for {what}")
    highest = max(int(part) for part in re.split("[,-]", text))
    if cpus is not None and highest >= cpus:
        raise BadRequest(f"Requested CPUs are not available - requested {text}, available: 0-{cpus - 1}")
    return text


def _device_rule(text: str) -> str:
    if not _DEVICE_RULE.match(text):
        raise BadRequest(f"invalid device cgroup rule format: '{text}'")
    return text
