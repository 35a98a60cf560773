"""Resource limits, devices and restart policy of a container's create request.  Pure."""

from __future__ import annotations

from netd.compose.create.engine_units import number_of_bytes
from netd.compose.model import BlockIo, ComposeService, DeviceDemand, Json, SoftHard, ThrottleRate

_CONDITIONS = {"none": "no", "any": "always"}


def limits(service: ComposeService) -> Json:
    """Return the fields of HostConfig; limits of ``deploy`` take precedence, as in Docker's compose."""
    fields: Json = {
        "CgroupParent": service.cgroup_parent,
        "Memory": number_of_bytes(service.mem_limit),
        "MemorySwap": number_of_bytes(service.memswap_limit),
        "MemoryReservation": number_of_bytes(service.mem_reservation),
        "OomKillDisable": service.oom_kill_disable,
        "CpuCount": service.cpu_count,
        "CpuPeriod": service.cpu_period,
        "CpuQuota": service.cpu_quota,
        "CpuRealtimePeriod": service.cpu_rt_period,
        "CpuRealtimeRuntime": service.cpu_rt_runtime,
        "CpuShares": service.cpu_shares,
        "NanoCpus": _nano(service.cpus),
        "CpuPercent": int(service.cpu_percent * 100),
        "CpusetCpus": service.cpuset,
        "DeviceCgroupRules": service.device_cgroup_rules,
        "Devices": [
            {"PathOnHost": node.source, "PathInContainer": node.target, "CgroupPermissions": node.permissions}
            for node in service.devices
        ],
        "Ulimits": [_ulimit(name, value) for name, value in sorted(service.ulimits.items())],
    }
    if service.mem_swappiness:
        fields["MemorySwappiness"] = number_of_bytes(service.mem_swappiness)
    if service.pids_limit:
        fields["PidsLimit"] = service.pids_limit
    demands = [_demand(wanted, [*wanted.capabilities, "gpu"]) for wanted in service.gpus]
    return {**fields, **_block_io(service.blkio_config), **_deployed(service, demands)}


def restart_policy(service: ComposeService) -> Json:
    """Return ``RestartPolicy``; that of ``deploy`` takes precedence."""
    name, _, attempts = service.restart.partition(":")
    number = int(attempts) if attempts.isascii() and attempts.isdigit() and len(attempts) < 10 else 0
    wanted = service.deploy.restart_policy if service.deploy is not None else None
    if wanted is not None:
        name, number = wanted.condition, wanted.max_attempts or 0
    return {"Name": _CONDITIONS.get(name, name), "MaximumRetryCount": number}


def _deployed(service: ComposeService, demands: list[Json]) -> Json:
    fields: Json = {}
    if service.deploy is not None and (bound := service.deploy.resources.limits) is not None:
        if bound.memory:
            fields["Memory"] = number_of_bytes(bound.memory)
        if bound.cpus:
            fields["NanoCpus"] = _nano(bound.cpus)
        if bound.pids > 0:
            fields["PidsLimit"] = bound.pids
    if service.deploy is not None and (reserved := service.deploy.resources.reservations) is not None:
        if reserved.memory:
            fields["MemoryReservation"] = number_of_bytes(reserved.memory)
        demands = demands + [_demand(wanted, wanted.capabilities) for wanted in reserved.devices]
    return {**fields, "DeviceRequests": demands}


def _nano(cpus: float) -> int:
    """Return billionths of a CPU, without the rounding errors of binary fractions."""
    return round(cpus * 10**9)


def _demand(wanted: DeviceDemand, capabilities: list[str]) -> Json:
    return {
        "Driver": wanted.driver,
        "Count": wanted.count,
        "DeviceIDs": wanted.device_ids or None,
        "Capabilities": [capabilities],
        "Options": wanted.options or None,
    }


def _ulimit(name: str, value: int | SoftHard) -> Json:
    if isinstance(value, int):
        return {"Name": name, "Soft": value, "Hard": value}
    return {"Name": name, "Soft": value.soft, "Hard": value.hard}


def _block_io(wanted: BlockIo | None) -> Json:
    if wanted is None:
        return {}
    return {
        "BlkioWeight": wanted.weight,
        "BlkioWeightDevice": [{"Path": entry.path, "Weight": entry.weight} for entry in wanted.weight_device],
        "BlkioDeviceReadBps": _rates(wanted.device_read_bps),
        "BlkioDeviceReadIOps": _rates(wanted.device_read_iops),
        "BlkioDeviceWriteBps": _rates(wanted.device_write_bps),
        "BlkioDeviceWriteIOps": _rates(wanted.device_write_iops),
    }


def _rates(entries: list[ThrottleRate]) -> list[Json]:
    return [{"Path": entry.path, "Rate": number_of_bytes(entry.rate)} for entry in entries]
