"""The program that uses a port of the host.

Changes nothing.  Reads the open files of every process, so it is called only for the message about a refused port.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from netd.common.addresses import Address
from netd.kernel.ports.listeners import holders

_PROC = Path("/proc")


def owner(protocol: str, address: Address, port: int) -> str:
    """Return ``nginx (pid 123)``, or a phrase that says why the program cannot be named."""
    inodes = holders(protocol, address, port)
    if not inodes:
        return "a program that has released it since, or the kernel itself"
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in _processes():
        if any(target in wanted for target in _open_files(process)):
            return f"{_name(process)} (pid {process.name})"
    return "a program that cannot be seen from here: it is in a container or a process namespace of its own"


def _processes() -> Iterator[Path]:
    return (process for process in _PROC.iterdir() if process.name.isdecimal())


def _open_files(process: Path) -> Iterator[str]:
    folder = process / "fd"
    try:
        names = os.listdir(folder)
    except OSError:  # It has ended, or access is denied.
        return
    for name in names:
        try:
            yield os.readlink(folder / name)
        except OSError:
            continue


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "a program"
