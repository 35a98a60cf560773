"""Names of Linux capabilities, Docker's default set, and the effect of --cap-add and --cap-drop.

Pure, except :func:`all_of_host`.  A set is an integer with a bit per capability.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from netd.nearest_names import nearest

NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
"""In the order of their bits."""

BIT = {name: 1 << number for number, name in enumerate(NAMES)}

DEFAULT = sum(
    BIT[name]
    for name in (
        "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
        "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
    )
)  # fmt: skip
"""Docker's default set, 0xa80425fb."""


def all_of_host(status: Path = Path("/proc/self/status")) -> int:
    """Return the bounding set of this process (CapBnd)."""
    for line in status.read_text().splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    raise ValueError(f"no CapBnd line in {status}")


def names(capabilities: int) -> tuple[str, ...]:
    """Return the names of a set, in the order of their bits."""
    return tuple(name for name in NAMES if capabilities & BIT[name])


def resolve(add: Iterable[str] = (), drop: Iterable[str] = (), privileged: bool = False, *, host: int = -1) -> int:
    """Return the capabilities of a container with these options.

    Names are case-insensitive, with or without ``CAP_``; ``ALL`` stands for all of *host*.  As in Docker, a name that
    is both added and dropped is dropped, but names added together with ``drop ALL`` are kept.  Raises ValueError for
    an unknown name.
    """
    host = all_of_host() if host < 0 else host
    added, dropped = [_name(text) for text in add], [_name(text) for text in drop]
    if privileged:
        return host
    base = 0 if "ALL" in dropped else host if "ALL" in added else DEFAULT
    for name in added:
        base |= BIT.get(name, 0)
    for name in dropped:
        if name not in added or "ALL" not in dropped:
            base &= ~BIT.get(name, 0)
    return base & host


def _name(text: str) -> str:
    name = text.upper().removeprefix("CAP_")
    if name == "ALL" or name in BIT:
        return name
    near = nearest(name, NAMES)
    hint = f"; did you mean {near}?" if near else ""
    raise ValueError(f'unknown capability: "CAP_{name}"{hint}')
