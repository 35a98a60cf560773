"""Reads the control group files of a process.  Callers parse the texts.

Separate from :mod:`runtime.kernel.cgroups`, because shims load that module and do not need this one.
"""

from __future__ import annotations

from runtime.kernel import cgroups, proc


def directories(pid: int) -> dict[str, str]:
    """Return the directory of the process's control group by controller; that of version 2 by ``""``.

    Raises FileNotFoundError or ProcessLookupError when the process has exited.
    """
    groups = {}
    hierarchies = cgroups.find()
    mounts = {name: hierarchy.path for hierarchy in hierarchies for name in hierarchy.controllers}
    unified = next((hierarchy.path for hierarchy in hierarchies if hierarchy.version == 2), None)
    for line in proc.control_groups(pid).splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            mount = mounts.get(name) if name else unified
            if mount:
                groups[name] = mount + path
    return groups


def read(directory: str, name: str) -> str:
    """Return the text of one file; empty if it is missing or unreadable."""
    try:
        with open(f"{directory}/{name}") as file:
            return file.read()
    except OSError:
        return ""
