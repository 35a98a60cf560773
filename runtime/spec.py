"""What it takes to start a process in a container, as values: the words between daemon, zygote and shim.

Pure, and small: the zygote imports it, so nothing may be imported here but the standard library.
Everything in a spec has been validated by whoever made it, except what only the image's own files can
tell (users, the program's path); those end in a :class:`StartError` from the shim.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One program to run: a container's first, or an exec's."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    """``NAME=value`` in order; ``HOME`` is added by the shim from the image's passwd when missing."""
    cwd: str = "/"
    user: str = ""
    """``user``, ``uid``, ``user:group``, ``uid:gid``: looked up in the image's own /etc/passwd and /etc/group."""
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
    """Keep standard input open for attached clients; else it is the container's /dev/null."""
    stdin_once: bool = False
    """Close standard input when the first client that sends it leaves."""
    oom_score_adj: int = 0
    root: int = 0
    """The host's id of the user and group 0 of the container's user namespace; 0 without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSpec:
    """One mount inside the container.  ``target`` is absolute there; ``source`` a path of the host for binds."""

    kind: Literal["bind", "tmpfs"]
    target: str
    source: str = ""
    read_only: bool = False
    propagation: str = "rprivate"
    options: str = ""
    """For tmpfs: ``size=…,mode=…`` and flags, as ``--tmpfs`` takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    source: str
    target: str
    access: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Control group limits; None leaves the kernel's default."""

    cpu_period: int | None = None
    """Microseconds."""
    cpu_quota: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory: int | None = None
    """Bytes."""
    memory_swap: int | None = None
    """Bytes of memory and swap together; -1 for no limit."""
    memory_reservation: int | None = None
    pids: int | None = None
    device_rules: tuple[str, ...] = ()
    """Extra ``c 1:3 rwm`` lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything the shim needs to make a container and run its first process."""

    id: str
    hostname: str
    domainname: str = ""
    netns: str | None = None
    """Path of a network namespace; None to share the daemon's."""
    userns: str = ""
    """Path of a user namespace, which the network namespace must belong to; empty for the daemon's."""
    pid_mode: str = "private"
    """``private``, ``host``, or ``/proc/N/ns/pid`` of a container to join; ipc likewise; uts is private or host."""
    ipc_mode: str = "private"
    uts_mode: str = "private"
    cgroup_namespace: bool = False
    """Of its own also with version 1 control groups; with version 2 every container has one."""
    lower: tuple[str, ...] = ()
    """Layer directories, top first."""
    upper: str = ""
    work: str = ""
    root: str = ""
    """An empty directory on which the root is assembled (in the container's own mount namespace)."""
    read_only: bool = False
    mounts: tuple[MountSpec, ...] = ()
    """In the order in which they are mounted; resolv.conf, hostname and hosts of /etc are among them."""
    devices: tuple[Device, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    shm_size: int = 67108864
    privileged: bool = False
    init: bool = False
    limits: Limits = field(default_factory=Limits)
    cgroup_parent: str = "netd"
    log_path: str = ""
    """Where the shim writes the json-file log; empty for none."""
    log_max_size: int = -1
    log_max_files: int = 1
    process: Process


@dataclass(frozen=True, slots=True)
class ExitStatus:
    code: int
    """As Docker counts: the program's own, or 128 + signal."""
    finished: str
    """RFC 3339."""
    oom_killed: bool = False
    error: str = ""


class StreamLost(Exception):
    """The output of a process was cut off before its end."""


class StartError(Exception):
    """The process could not be started.  ``code`` is what Docker reports: 125, 126, 127 or 128."""

    def __init__(self, message: str, code: int = 128) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
