"""Properties of the host: its name and its version of control groups."""

from __future__ import annotations

import os
import socket

_UNIFIED_CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers"


def hostname() -> str:
    """Return the hostname of this process's UTS namespace."""
    return socket.gethostname()


def has_unified_cgroups() -> bool:
    """Return whether control groups of version 2 are mounted at the usual path."""
    return os.path.exists(_UNIFIED_CONTROLLERS)
