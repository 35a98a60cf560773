"""Kernel parameters below net., and the memory of those that netd changes for the whole host.

They belong to the network namespace of the thread that touches them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from netd.common.addresses import FAMILIES, Family
from netd.common.errors import KernelRefused

_ROOT = Path("/proc/sys")
_IPV6 = "net/ipv6/conf"
_FORWARDING: dict[Family, str] = {4: "net/ipv4/ip_forward", 6: f"{_IPV6}/all/forwarding"}


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
    """Whether the host forwards, by family: switched on where needed, and put back as it was.

    What it was is in files of the run folder, so that a killed daemon's successor still knows.
    """

    def __init__(self, run_dir: Path) -> None:
        self._memories: dict[Family, Path] = {4: run_dir / "ip_forward", 6: run_dir / "ipv6_forwarding"}

    def is_on(self, families: Collection[Family] = FAMILIES) -> bool:
        return all(read_optional(_FORWARDING[family]) == "1" for family in families)

    def enable(self, families: Collection[Family]) -> None:
        """Switch it on for *families*.  Raises KernelRefused where the kernel has no such family."""
        for family in families:
            if self.is_on((family,)):
                continue
            before = _before(family)
            if not self._memories[family].exists():
                self._memories[family].write_text(json.dumps(before))
            if family == 6:
                _keep_listening_to_routers()
            try:
                write(_FORWARDING[family], "1")
            except OSError as problem:
                raise KernelRefused(f"the host cannot forward IPv{family}: {problem.strerror}") from problem

    def restore(self) -> None:
        for memory in self._memories.values():
            if memory.exists():
                for name, value in (json.loads(memory.read_text() or "{}") or {}).items():
                    if read_optional(name) not in ("", value):
                        write_optional(name, value)
                memory.unlink()


def _before(family: Family) -> dict[str, str]:
    """Return what switching forwarding on changes, that of all links first: writing it writes the others."""
    names = [_FORWARDING[family]]
    if family == 6:
        links = sorted(one.name for one in (_ROOT / _IPV6).iterdir() if one.name != "all")
        names += [f"{_IPV6}/{link}/{name}" for link in links for name in ("forwarding", "accept_ra")]
    return {name: read_optional(name) for name in names}


def _keep_listening_to_routers() -> None:
    """A host that forwards IPv6 loses the way out that a router told it, unless a link is told to listen anyway."""
    for link in (_ROOT / _IPV6).iterdir():
        if read_optional(f"{_IPV6}/{link.name}/accept_ra") == "1" and link.name not in ("all", "lo"):
            write_optional(f"{_IPV6}/{link.name}/accept_ra", "2")
