"""Kernel parameters below net., and the memory of the one that netd changes for the whole host.

They belong to the network namespace of the thread that touches them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from netd.common.errors import KernelRefused

_ROOT = Path("/proc/sys")


def read(name: str) -> str:
    return (_ROOT / name).read_text().strip()


def read_optional(name: str) -> str:
    """The same for what may go at any moment, with its link; "" when it is not there."""
    try:
        return read(name)
    except FileNotFoundError:
        return ""


def write(name: str, value: str) -> None:
    """Set ``net/ipv4/ip_forward`` and the like."""
    fd = os.open(f"{_ROOT}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def write_optional(name: str, value: str) -> None:
    """The same for what a kernel may be built without (IPv6)."""
    try:
        write(name, value)
    except FileNotFoundError:
        pass


def write_all(settings: Iterable[tuple[str, str]]) -> None:
    """Set parameters named as people write them, ``net.core.somaxconn``.  KernelRefused names the first refused."""
    for name, value in settings:
        path = name.replace(".", "/")
        if not path.startswith("net/"):
            raise KernelRefused(f"sysctl {name} is not of the network namespace: only net.* can be set here")
        try:
            write(path, value)
        except OSError as problem:
            reason = problem.strerror or str(problem)
            raise KernelRefused(f"sysctl {name} cannot be set to {value!r}: {reason}", problem.errno or 0) from problem


class Forwarding:
    """``net.ipv4.ip_forward`` of the host: switched on where needed, and put back as it was.

    What it was is in a file, so that a killed daemon's successor still knows.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    def is_on(self) -> bool:
        return read("net/ipv4/ip_forward") == "1"

    def enable(self) -> None:
        if not self.is_on():
            before = read("net/ipv4/ip_forward")
            if not self._memory.exists():
                self._memory.write_text(before)
            write("net/ipv4/ip_forward", "1")

    def restore(self) -> None:
        if self._memory.exists():
            write("net/ipv4/ip_forward", self._memory.read_text() or "0")
            self._memory.unlink()
