"""Reads /proc: files of processes, their namespaces, and CPU time of the host.  Callers parse the texts."""

from __future__ import annotations

import os

_MAX_COMMAND = 4096
"""Bytes read of a command line, which may have megabytes."""


def namespace_path(pid: int, kind: str) -> str:
    """Return the path of a process's namespace; *kind* is a name in /proc/PID/ns, such as ``net``."""
    return f"/proc/{pid}/ns/{kind}"


def namespace_inode(path: str) -> int:
    """Return the inode number, which is equal for all paths of one namespace.  Raises FileNotFoundError."""
    return os.stat(path).st_ino


def descriptor_path(descriptor: int) -> str:
    """Return a path by which other processes open a descriptor of this process."""
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def threads(pid: int) -> list[int]:
    """Return the ids of a process's threads; none if it has ended."""
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except (FileNotFoundError, ProcessLookupError):
        return []


def process_files(pid: int, thread: int = 0) -> tuple[str, bytes, str]:
    """Return (stat, cmdline up to 4,096 bytes, status) of a process, or of its *thread*.

    Raises FileNotFoundError or ProcessLookupError.
    """
    folder = f"/proc/{pid}/task/{thread}" if thread else f"/proc/{pid}"
    with open(f"{folder}/stat", errors="replace") as file:
        stat = file.read()
    with open(f"{folder}/cmdline", "rb") as file:
        command = file.read(_MAX_COMMAND)
    with open(f"{folder}/status", errors="replace") as file:
        status = file.read()
    return stat, command, status


def wait_channel(pid: int) -> str:
    """Return the kernel function that the process waits in; ``-`` if it does not wait or may not be seen."""
    try:
        with open(f"/proc/{pid}/wchan") as file:
            text = file.read()
    except OSError:
        return "-"
    return text if text not in ("", "0") else "-"


def control_groups(pid: int) -> str:
    """Return /proc/PID/cgroup, cgroups(7).  Raises FileNotFoundError or ProcessLookupError."""
    with open(f"/proc/{pid}/cgroup", errors="surrogateescape") as file:
        return file.read()


def network_devices(pid: int) -> str:
    """Return /proc/PID/net/dev: the counters of the links in the process's network namespace."""
    with open(f"/proc/{pid}/net/dev", errors="replace") as file:
        return file.read()


def host_cpu_line() -> str:
    """Return the first line of /proc/stat: the CPU time of all CPUs together."""
    with open("/proc/stat") as file:
        return file.readline()
