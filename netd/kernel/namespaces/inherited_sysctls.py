"""The sysctls that a new network namespace copies from the host.  Changes nothing.

The kernel copies ``net.ipv4.conf.all`` and ``.default``, those of IPv6 if ``net.core.devconf_inherit_init_net`` is 1 or
3, and some of TCP and UDP, when the namespace is created.  It sends no notification when they change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from netd.kernel.high_descriptors import move_high

Values: TypeAlias = tuple[bytes, ...]
_ROOT = Path("/proc/sys/net")
_SINGLE = (
    "core/devconf_inherit_init_net",
    "ipv4/tcp_rmem",
    "ipv4/tcp_wmem",
    "ipv4/tcp_congestion_control",
    "ipv4/tcp_child_ehash_entries",
    "ipv4/udp_child_hash_entries",
)
_FOLDERS = ("ipv4/conf/all", "ipv4/conf/default")
_FOLDERS6 = ("ipv6/conf/all", "ipv6/conf/default")
_INHERITS6 = (b"1\n", b"3\n")
_LONGEST = 256


class InheritedSysctls:
    """Keeps the files open, because 70 of them are read in 0.1 ms then.  Use it in one thread."""

    def __init__(self) -> None:
        self._files: list[int] = []
        self._files6: list[int] = []

    def read(self) -> Values:
        """Return the values, in a fixed order."""
        if not self._files:
            self._files = [*_opened(_SINGLE), *_opened(_paths(_FOLDERS))]
            self._files6 = list(_opened(_paths(_FOLDERS6)))
        found = tuple(os.pread(file, _LONGEST, 0) for file in self._files)
        if found and found[0] in _INHERITS6:
            found += tuple(os.pread(file, _LONGEST, 0) for file in self._files6)
        return found

    def close(self) -> None:
        for file in (*self._files, *self._files6):
            os.close(file)
        self._files, self._files6 = [], []


def _paths(folders: tuple[str, ...]) -> Iterator[str]:
    for folder in folders:
        with suppress(FileNotFoundError):
            yield from (f"{folder}/{name}" for name in sorted(os.listdir(_ROOT / folder)))


def _opened(paths: Iterator[str] | tuple[str, ...]) -> Iterator[int]:
    """Yield a descriptor for each file that can be read; some can only be written, or have no value (EIO)."""
    for path in paths:
        with suppress(OSError):
            file = os.open(_ROOT / path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.pread(file, _LONGEST, 0)
            except OSError:
                os.close(file)
                raise
            yield move_high(file)
