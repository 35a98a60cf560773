"""Rejects options of Docker that are not implemented, by name, so that none is silently ignored.  Pure.

A field is rejected unless it has a value that changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netd.common.errors import BadRequest, NotImplementedYet
from runtime.container_config import Config, HostConfig

_FIELDS: Mapping[str, tuple[str, Callable[[HostConfig], object]]] = {
    "CgroupnsMode": ("--cgroupns", lambda h: h.cgroupns_mode != "private" and h.cgroupns_mode),
    "Cgroup": ("the cgroup of another container", lambda h: h.cgroup),
    "CgroupParent": ("--cgroup-parent", lambda h: h.cgroup_parent),
    "BlkioWeight": ("--blkio-weight", lambda h: h.blkio_weight),
    "BlkioWeightDevice": ("--blkio-weight-device", lambda h: h.blkio_weight_device),
    "BlkioDeviceReadBps": ("--device-read-bps", lambda h: h.blkio_device_read_bps),
    "BlkioDeviceWriteBps": ("--device-write-bps", lambda h: h.blkio_device_write_bps),
    "BlkioDeviceReadIOps": ("--device-read-iops", lambda h: h.blkio_device_read_iops),
    "BlkioDeviceWriteIOps": ("--device-write-iops", lambda h: h.blkio_device_write_iops),
    "CpuRealtimePeriod": ("--cpu-rt-period", lambda h: h.cpu_realtime_period),
    "CpuRealtimeRuntime": ("--cpu-rt-runtime", lambda h: h.cpu_realtime_runtime),
    "DeviceRequests": ("--gpus", lambda h: h.device_requests),
    "KernelMemory": ("--kernel-memory", lambda h: h.kernel_memory),
    "MemorySwappiness": ("--memory-swappiness", lambda h: h.memory_swappiness not in (None, -1)),
    "OomKillDisable": ("--oom-kill-disable", lambda h: h.oom_kill_disable),
    "CpuCount": ("--cpu-count", lambda h: h.cpu_count),
    "CpuPercent": ("--cpu-percent", lambda h: h.cpu_percent),
    "IOMaximumIOps": ("--io-maxiops", lambda h: h.io_maximum_iops),
    "IOMaximumBandwidth": ("--io-maxbandwidth", lambda h: h.io_maximum_bandwidth),
    "MaskedPaths": ("--security-opt systempaths", lambda h: h.masked_paths is not None),
    "ReadonlyPaths": ("--security-opt systempaths", lambda h: h.readonly_paths is not None),
}
_USERNS_MODES = ("", "host", "auto")
_RUNTIMES = ("", "runc", "netd", "io.containerd.runc.v2")
_LOG_DRIVERS = ("", "json-file", "none")


def check(config: Config, host: HostConfig) -> None:
    """Raise NotImplementedYet or BadRequest, which names the field, for an option that would be ignored."""
    if host.isolation not in ("", "default"):
        raise BadRequest(
            f"invalid isolation '{host.isolation}': process and hyperv isolation need a Windows host; leave"
            " --isolation out"
        )
    if host.userns_mode not in _USERNS_MODES:
        raise BadRequest(f"invalid USER mode: {host.userns_mode}: use auto or host")
    if host.runtime not in _RUNTIMES:
        raise BadRequest(f"unknown or invalid runtime name: {host.runtime}")
    if host.log_config.type not in _LOG_DRIVERS:
        raise BadRequest(f"logger: no log driver named '{host.log_config.type}' is registered; use json-file or none")
    if host.volume_driver not in ("", "local"):
        raise BadRequest(f"volume driver '{host.volume_driver}' is not supported; use local")
    for name, (option, is_set) in _FIELDS.items():
        if is_set(host):
            raise NotImplementedYet(
                f"HostConfig.{name} ({option}) is not implemented by netd-runtime yet; leave it out"
            )
