"""Specifications of processes and containers, which the daemon sends to shims.

Pure; imports only the standard library.  The daemon has validated a spec, except what depends on the image's files
(user, program): the setup process reports errors of these, which the daemon raises as :class:`StartError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

CGROUP_PARENT = "netd"
"""The control group of containers without a parent of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One program to run: of a container's first process, or of an exec."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    """``NAME=value`` in order; if ``HOME`` is missing, it is added from the image's /etc/passwd."""
    cwd: str = "/"
    user: str = ""
    """``user``, ``uid``, ``user:group``, ``uid:gid``: looked up in the image's /etc/passwd and /etc/group."""
    group_add: tuple[str, ...] = ()
    capabilities: int = 0
    """Bit mask: the bounding set, and permitted and effective for uid 0."""
    no_new_privileges: bool = False
    seccomp: bytes = b""
    """A classic BPF program; empty for none."""
    rlimits: tuple[tuple[int, int, int], ...] = ()
    """(resource, soft, hard)."""
    tty: bool = False
    console_size: tuple[int, int] | None = None
    """(rows, columns)."""
    stdin: bool = False
    """Keep standard input open for attached clients; otherwise it is the container's /dev/null."""
    stdin_once: bool = False
    """Close standard input when the first client attached to it disconnects."""
    oom_score_adj: int = 0
    umask: int = 0o022
    root: int = 0
    """The host's id of user and group 0 of the container's user namespace; 0 without a user namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootSource:
    """What is mounted as the root: an overlay of the directories ``lower``, top first, or the directory ``root``."""

    lower: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    root: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSpec:
    """One mount in the container.  ``target`` is an absolute path there; ``source`` is a path of the host for binds."""

    kind: Literal["bind", "tmpfs", "image"]
    target: str
    source: str = ""
    read_only: bool = False
    propagation: str = "rprivate"
    options: str = ""
    """For tmpfs: ``size=…,mode=…`` and flags, in the syntax of ``--tmpfs``."""
    subpath: str = ""
    """What is mounted below the source or the image; symbolic links in it cannot leave them."""
    recursive: bool = True
    """Whether a bind has the mounts below its source."""
    read_only_recursive: bool = True
    """Whether ``read_only`` applies to these as well."""
    layers: tuple[str, ...] = ()
    """Layer directories of an image, top first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    source: str
    target: str
    access: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Control group limits; None for the kernel's default."""

    cpu_period: int | None = None
    """Microseconds."""
    cpu_quota: int | None = None
    """Microseconds in each period; -1 for no limit."""
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory: int | None = None
    """Bytes."""
    memory_swap: int | None = None
    """Bytes of memory and swap together; -1 for no limit."""
    memory_reservation: int | None = None
    """-1 for no reservation."""
    memory_swappiness: int | None = None
    kernel_memory_tcp: int | None = None
    oom_kill_disable: bool = False
    cpu_realtime_period: int | None = None
    """Microseconds."""
    cpu_realtime_runtime: int | None = None
    pids: int | None = None
    """-1 for no limit."""
    blkio_weight: int | None = None
    blkio_devices: tuple[tuple[str, str, int], ...] = ()
    """(``weight``, ``rbps``, ``wbps``, ``riops`` or ``wiops``; path of a block device; value)."""
    device_rules: tuple[str, ...] = ()
    """Additional rules, such as ``c 1:3 rwm``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything that a shim needs to create a container and run its first process."""

    id: str
    hostname: str
    domainname: str = ""
    netns: str | None = None
    """Path of a network namespace; None to share the daemon's."""
    network_later: bool = False
    """``netns`` is not known yet: it is sent while the container is prepared."""
    userns: str = ""
    """Path of a user namespace, which must own the network namespace; empty for the daemon's."""
    pid_mode: str = "private"
    """``private``, ``host``, or ``/proc/N/ns/pid`` of a container to join; ipc likewise; uts is private or host."""
    ipc_mode: str = "private"
    uts_mode: str = "private"
    cgroup_namespace: str = ""
    """``private``, ``host``, or empty: private with version 2 control groups, the host's with version 1."""
    writable_cgroups: bool = False
    lower: tuple[str, ...] = ()
    """Layer directories, top first."""
    upper: str = ""
    work: str = ""
    root: str = ""
    """The root directory of a container without ``lower``."""
    read_only: bool = False
    mounts: tuple[MountSpec, ...] = ()
    """In mount order; /etc/resolv.conf, /etc/hostname and /etc/hosts are among them."""
    devices: tuple[Device, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    shm_size: int = 67108864
    privileged: bool = False
    masked_paths: tuple[str, ...] | None = None
    """Paths to hide, in place of the default ones; None for these, or for none if privileged; read_only_paths too."""
    read_only_paths: tuple[str, ...] | None = None
    init: bool = False
    limits: Limits = field(default_factory=Limits)
    cgroup_parent: str = CGROUP_PARENT
    """Relative to each hierarchy."""
    log_path: str = ""
    """Path of the json-file log; empty for none."""
    log_max_size: int = -1
    log_max_files: int = 1
    process: Process


@dataclass(frozen=True, slots=True)
class ExitStatus:
    code: int
    """The program's exit code, or 128 + signal."""
    finished: str
    """RFC 3339."""
    oom_killed: bool = False
    error: str = ""


class StreamLost(Exception):
    """The connection to the output of a process was lost before the end of the output."""


class StartError(Exception):
    """The process could not be started.  ``code`` is the exit code that Docker reports: 125, 126, 127 or 128."""

    def __init__(self, message: str, code: int = 128) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
