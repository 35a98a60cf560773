"""Properties of the host: its name, and the options of containers that its kernel honours.

These follow from files of its control groups, of AppArmor and of SELinux.
"""

from __future__ import annotations

import glob
import os
import socket
from dataclasses import dataclass
from functools import lru_cache

from runtime.kernel import cgroups

MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""Docker's defaults, in its order; :mod:`runtime.init.rootfs_skeleton` hides and protects the same paths."""

_UNIFIED_CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers"
_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_SELINUX = "/sys/fs/selinux/enforce"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSupport:
    """Support by option; the defaults are those of a usual host with version 1 control groups."""

    block_weight: bool = False
    """Whether a weight has an effect: a block device uses the scheduler BFQ, or the kernel is older than that."""
    block_limits: bool = True
    swappiness: bool = True
    oom_kill_disable: bool = True
    kernel_memory_tcp: bool = True
    cpu_realtime: bool = True
    unified: bool = False
    """Version 2 control groups alone."""
    memory_nodes: str = "0"
    """The online NUMA nodes, such as ``0-1``."""
    apparmor: bool = False
    selinux: bool = False


@lru_cache(maxsize=1)
def host_support() -> HostSupport:
    """Return the support of this host, which is determined once."""
    found = cgroups.find()
    first = {name: h.path for h in found if h.version == 1 for name in h.controllers}
    second = next((h for h in found if h.version == 2), None)
    unified_io = second is not None and "io" in second.controllers
    return HostSupport(
        block_weight=_weight_works(first.get("blkio"), second if unified_io else None),
        block_limits=unified_io or _has(first.get("blkio"), "blkio.throttle.read_bps_device"),
        swappiness=_has(first.get("memory"), "memory.swappiness"),
        oom_kill_disable=_has(first.get("memory"), "memory.oom_control"),
        kernel_memory_tcp=_has(first.get("memory"), "memory.kmem.tcp.limit_in_bytes"),
        cpu_realtime=_has(first.get("cpu"), "cpu.rt_runtime_us"),
        unified=not first,
        memory_nodes=_text("/sys/devices/system/node/online") or "0",
        apparmor=_text(_APPARMOR) == "Y",
        selinux=os.path.exists(_SELINUX),
    )


def _weight_works(blkio: str | None, unified: cgroups.Hierarchy | None) -> bool:
    if _has(blkio, "blkio.weight"):
        return True
    bfq = any("[bfq]" in _text(path) for path in glob.glob("/sys/block/*/queue/scheduler"))
    return bfq and (unified is not None or _has(blkio, "*/blkio.bfq.weight"))


def _has(directory: str | None, name: str) -> bool:
    return directory is not None and bool(glob.glob(f"{glob.escape(directory)}/{name}"))


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def hostname() -> str:
    """Return the hostname of this process's UTS namespace."""
    return socket.gethostname()


def has_unified_cgroups() -> bool:
    """Return whether control groups of version 2 are mounted at the usual path."""
    return os.path.exists(_UNIFIED_CONTROLLERS)
