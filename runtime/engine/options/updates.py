"""The body of an update of a container, and its merge into the container's options.  Pure."""

from __future__ import annotations

import msgspec

from netd.common.errors import Conflict
from runtime.container_config import HostConfig, RestartPolicy

_NUMBERS = (
    "blkio_weight", "cpu_shares", "nano_cpus", "cpu_period", "cpu_quota", "memory", "memory_swap",
    "memory_reservation",
)  # fmt: skip
_TEXTS = ("cpuset_cpus", "cpuset_mems")
_DEVICES = (
    "blkio_weight_device", "blkio_device_read_bps", "blkio_device_write_bps", "blkio_device_read_iops",
    "blkio_device_write_iops",
)  # fmt: skip
"""Docker applies these since API version 1.55; a list replaces the former one."""
_FIELDS = (*_NUMBERS, *_TEXTS, *_DEVICES, "pids_limit")

_IGNORED: dict[str, str] = {
    "cgroup_parent": "CgroupParent",
    "devices": "Devices",
    "device_cgroup_rules": "DeviceCgroupRules",
    "kernel_memory_tcp": "KernelMemoryTCP",
    "oom_kill_disable": "OomKillDisable",
    "ulimits": "Ulimits",
}
"""Fields of the body that Docker accepts and does not apply."""


class UpdateRequest(HostConfig, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /containers/{id}/update``: resources and the restart policy; zero values change nothing."""

    def host_config(self) -> HostConfig:
        """Return the fields that can be updated."""
        return HostConfig(restart_policy=self.restart_policy, **{name: getattr(self, name) for name in _FIELDS})

    def ignored(self) -> list[str]:
        """Return a warning for each field that cannot be updated."""
        return [
            f"{shown} cannot be updated and was ignored: create the container again"
            for name, shown in _IGNORED.items()
            if getattr(self, name)
        ]


def merged(host: HostConfig, wanted: HostConfig) -> HostConfig:
    """Return *host* with the values of *wanted* that are not zero.  Raises Conflict with Docker's messages."""
    _check_cpu(host, wanted)
    if wanted.memory > host.memory_swap != -1 and not wanted.memory_swap:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    values: dict[str, object] = {name: getattr(wanted, name) for name in _FIELDS if getattr(wanted, name)}
    if wanted.pids_limit is not None:
        values["pids_limit"] = max(wanted.pids_limit, 0)
    if wanted.restart_policy.name:
        if host.auto_remove and wanted.restart_policy.name != "no":
            raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
        values["restart_policy"] = RestartPolicy(wanted.restart_policy.name, wanted.restart_policy.maximum_retry_count)
    return msgspec.structs.replace(host, **values)


def _check_cpu(host: HostConfig, wanted: HostConfig) -> None:
    conflicts = (
        (wanted.nano_cpus, host.cpu_period, "Nano CPUs cannot be updated as CPU Period has already been set"),
        (wanted.nano_cpus, host.cpu_quota, "Nano CPUs cannot be updated as CPU Quota has already been set"),
        (wanted.cpu_period, host.nano_cpus, "CPU Period cannot be updated as NanoCPUs has already been set"),
        (wanted.cpu_quota, host.nano_cpus, "CPU Quota cannot be updated as NanoCPUs has already been set"),
    )
    for new, present, text in conflicts:
        if new > 0 and present > 0:
            raise Conflict(f"Conflicting options: {text}")
