"""Kernel parameters below net., and the memory of those that netd changes for the whole host.

They belong to the network namespace of the thread that touches them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from netd.common.addresses import Family
from netd.common.errors import KernelRefused
from netd.kernel.sysctl_journal import read as remembered

_log = logging.getLogger(__name__)
_ROOT = Path("/proc/sys")
_SWITCHES: dict[Family, str] = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
_OURS = "nd"
"""What our links' names begin with; those with other names are bridges, which listen to no router anyway."""


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


def write_all(settings: Iterable[tuple[str, str]], interface: str = "") -> None:
    """Set parameters named as people write them, ``net.core.somaxconn``.  KernelRefused names the first refused.

    *interface* is what IFNAME in a name stands for, also written ``ifname``.
    """
    for name, value in settings:
        path = "/".join(interface if part in ("IFNAME", "ifname") else part for part in name.split("."))
        if not path.startswith("net/"):
            raise KernelRefused(f"sysctl {name} is not of the network namespace: only net.* can be set here")
        try:
            write(path, value)
        except OSError as problem:
            reason = problem.strerror or str(problem)
            raise KernelRefused(f"sysctl {name} cannot be set to {value!r}: {reason}", problem.errno or 0) from problem


class Forwarding:
    """Whether the host forwards: switched on for a family where needed, and put back as it was.

    What was there is in a file per family in the run folder, so that a killed daemon's successor still knows.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def is_on(self, families: Iterable[Family]) -> bool:
        """Tell whether the host forwards packets of all these families."""
        return all(read_optional(_SWITCHES[family]) == "1" for family in families)

    def enable(self, families: Iterable[Family]) -> None:
        for family in families:
            if not self.is_on((family,)):
                self._switch_on(family)

    def restore(self) -> None:
        for family in _SWITCHES:
            memory = self._file(family)
            for name, value in remembered(memory):
                try:
                    write_optional(name, value)
                except KernelRefused as refused:
                    _log.warning("not put back: %s", refused.message)
            memory.unlink(missing_ok=True)

    def _switch_on(self, family: Family) -> None:
        memory = self._file(family)
        listening = list(_listening_to_routers()) if family == 6 else []
        if not memory.exists():
            before = ((name, read_optional(name)) for name in (*_set_by_switch(family), *listening))
            memory.write_text("".join(f"{name}={value}\n" for name, value in before if value))
        for name in listening:
            # A host that forwards heeds routers only so; and it forgets its routes by them at the switch.
            write_optional(name, "2")
        write_optional(_SWITCHES[family], "1")

    def _file(self, family: Family) -> Path:
        return self._run_dir / f"forwarding{family}"


def _set_by_switch(family: Family) -> Iterator[str]:
    """Yield the switch, and the parameters that the kernel sets with it."""
    yield _SWITCHES[family]
    if family == 4:
        yield "net/ipv4/conf/all/accept_redirects"
    for link in _links(family):
        own = f"net/ipv{family}/conf/{link}/forwarding"
        if link == "default" or read_optional(own) == "1":
            yield own


def _listening_to_routers() -> Iterator[str]:
    """Yield the parameters by which links listen to routers only as long as the host is none."""
    for link in _links(6):
        listens = read_optional(f"net/ipv6/conf/{link}/accept_ra") == "1"
        if listens and read_optional(f"net/ipv6/conf/{link}/forwarding") == "0":
            yield f"net/ipv6/conf/{link}/accept_ra"


def _links(family: Family) -> list[str]:
    """Return the links that have parameters of the family and are not ours, and "default" for those to come."""
    folder = _ROOT / f"net/ipv{family}/conf"
    found = sorted(os.listdir(folder)) if folder.exists() else []
    return [link for link in found if link not in ("all", "lo") and not link.startswith(_OURS)]
