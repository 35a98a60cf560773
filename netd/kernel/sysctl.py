"""Kernel parameters below net., and IP forwarding of the host with its former values.

Parameters are those of the calling thread's network namespace.  Owns the files ``RUN/forwarding4`` and
``RUN/forwarding6``.  Must not change parameters outside ``net/``.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from netd.common.addresses import Family
from netd.common.errors import KernelRefused
from netd.kernel.sysctl_journal import read as read_journal

_log = logging.getLogger(__name__)
_ROOT = Path("/proc/sys")
_LONGEST = 4096
"""Bytes of a value."""
_FORWARDING: dict[Family, str] = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
_BRIDGE_FILTER: dict[Family, str] = {4: "net/bridge/bridge-nf-call-iptables", 6: "net/bridge/bridge-nf-call-ip6tables"}
_OWN_PREFIX = "nd"
"""Prefix of the names of netd's links.  Its bridges with other names never accept router advertisements."""


_thread = threading.local()


def keep_folder() -> None:
    """Look up ``/proc/sys/net`` once for the calling thread, which stays in its namespace until it ends.

    All namespaces have their folders under one name, and the kernel compares all of them that were used at each lookup:
    beside 500 sandboxes this took a quarter of the kernel's time for a start.
    """
    _thread.folder = _Folder()


class _Folder:
    """The folder of one namespace, opened at the first use and closed with its thread."""

    def __init__(self) -> None:
        self._descriptor = -1

    def open(self, name: str, flags: int) -> int:
        if self._descriptor < 0:
            self._descriptor = os.open(_ROOT / "net", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return os.open(name.removeprefix("net/"), flags, dir_fd=self._descriptor)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _open(name: str, flags: int) -> int:
    kept: _Folder | None = getattr(_thread, "folder", None)
    if kept is not None and name.startswith("net/"):
        return kept.open(name, flags | os.O_CLOEXEC)
    return os.open(f"{_ROOT}/{name}", flags | os.O_CLOEXEC)


def read(name: str) -> str:
    fd = _open(name, os.O_RDONLY)
    try:
        return os.read(fd, _LONGEST).decode(errors="replace").strip()
    finally:
        os.close(fd)


def read_optional(name: str) -> str:
    """Return the value, or "" if the parameter does not exist: those of a link are deleted with it."""
    try:
        return read(name)
    except FileNotFoundError:
        return ""


def bridge_filter() -> frozenset[Family]:
    """Return the families whose packets between ports of a bridge br_netfilter passes to the rules of the host.

    Its module may be loaded at any time.
    """
    return frozenset(family for family, name in _BRIDGE_FILTER.items() if read_optional(name) == "1")


def write(name: str, value: str) -> None:
    """Set a parameter, named as a path: ``net/ipv4/ip_forward``."""
    fd = _open(name, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def write_optional(name: str, value: str) -> None:
    """Set a parameter, or do nothing if the kernel was built without it (IPv6)."""
    try:
        write(name, value)
    except FileNotFoundError:
        pass


def write_all(settings: Iterable[tuple[str, str]], interface: str = "") -> None:
    """Set parameters with dotted names (``net.core.somaxconn``).  Raises KernelRefused naming the first that fails.

    *interface* replaces the component IFNAME or ``ifname`` of a name.
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
    """IP forwarding of the host: enabled per family when needed, and restored to its former state.

    The former values are in a file per family in the run folder, so that they outlive a killed daemon.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def is_on(self, families: Iterable[Family]) -> bool:
        """Return whether the host forwards packets of all these families."""
        return all(read_optional(_FORWARDING[family]) == "1" for family in families)

    def enable(self, families: Iterable[Family]) -> None:
        for family in families:
            if not self.is_on((family,)):
                self._switch_on(family)

    def restore(self) -> None:
        for family in _FORWARDING:
            former = self._former_values(family)
            for name, value in read_journal(former):
                try:
                    write_optional(name, value)
                except OSError as error:
                    _log.warning("sysctl not restored: name=%s error=%s", name, error)
            former.unlink(missing_ok=True)

    def record(self, name: str) -> None:
        """Record the value of a parameter that the caller will set; a value that is recorded already stays."""
        file, value = self._recorded(name), read_optional(name)
        if value and not file.exists():
            file.write_text(f"{name}={value}\n")

    def restore_recorded(self, name: str) -> None:
        """Restore the parameter, if its value was recorded."""
        for parameter, value in read_journal(self._recorded(name)):
            write_optional(parameter, value)
        self._recorded(name).unlink(missing_ok=True)

    def _recorded(self, name: str) -> Path:
        return self._run_dir / f"sysctl-{name.replace('/', '.')}"

    def _switch_on(self, family: Family) -> None:
        former = self._former_values(family)
        accept_ra = list(_accept_ra_parameters()) if family == 6 else []
        if not former.exists():
            values = ((name, read_optional(name)) for name in (*_set_by_forwarding(family), *accept_ra))
            former.write_text("".join(f"{name}={value}\n" for name, value in values if value))
        for name in accept_ra:
            # With forwarding on, only accept_ra=2 accepts router advertisements.  Set before the switch, at which the
            # kernel would delete the routes that it learned from them.
            write_optional(name, "2")
        write_optional(_FORWARDING[family], "1")

    def _former_values(self, family: Family) -> Path:
        return self._run_dir / f"forwarding{family}"


def _set_by_forwarding(family: Family) -> Iterator[str]:
    """Yield the family's forwarding parameter and the parameters that the kernel sets with it."""
    yield _FORWARDING[family]
    if family == 4:
        yield "net/ipv4/conf/all/accept_redirects"
    for link in _links(family):
        own = f"net/ipv{family}/conf/{link}/forwarding"
        if link == "default" or read_optional(own) == "1":
            yield own


def _accept_ra_parameters() -> Iterator[str]:
    """Yield ``accept_ra`` of the links that accept router advertisements only while they do not forward."""
    for link in _links(6):
        accepts = read_optional(f"net/ipv6/conf/{link}/accept_ra") == "1"
        if accepts and read_optional(f"net/ipv6/conf/{link}/forwarding") == "0":
            yield f"net/ipv6/conf/{link}/accept_ra"


def _links(family: Family) -> list[str]:
    """Return the links with parameters of the family that are not netd's, and "default" for future links."""
    folder = _ROOT / f"net/ipv{family}/conf"
    found = sorted(os.listdir(folder)) if folder.exists() else []
    return [link for link in found if link not in ("all", "lo") and not link.startswith(_OWN_PREFIX)]
