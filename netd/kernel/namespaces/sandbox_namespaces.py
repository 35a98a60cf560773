"""Network namespaces of sandboxes, by the ids of their containers, with their sysctls and default routes.

Owns ``RUN/netns`` (one mount per namespace, named by the first twelve characters of the id) and ``RUN/sandboxes`` (one
file per namespace, named by the whole id, with its sysctls: the kernel records neither).
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from netd.common import folders
from netd.common.errors import KernelRefused
from netd.common.ids import short
from netd.facts import DefaultRoute, Namespace
from netd.host_protocol import Resolver
from netd.kernel import sysctl, sysctl_journal
from netd.kernel.namespaces import netns
from netd.kernel.namespaces.dns_sockets import RedirectDns
from netd.kernel.namespaces.sandbox_sockets import SandboxSockets
from netd.kernel.namespaces.spare_namespaces import SpareNamespace, SpareNamespaces
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.rtnl_socket import Rtnl

T = TypeVar("T")
_LOOPBACK = 1
_log = logging.getLogger(__name__)


class SandboxNamespaces:
    def __init__(self, run_dir: Path) -> None:
        self._mounts = run_dir / "netns"
        self._records = run_dir / "sandboxes"
        self._sockets = SandboxSockets()
        self._spares = SpareNamespaces(_prepare)
        self._resolvers: dict[str, Resolver] = {}
        """DNS sockets in namespaces that were spares, by the sandbox's short id, until they are taken."""

    def open(self) -> None:
        """Create the folders, and delete entries without a namespace, which a killed daemon or a reboot leaves."""
        folders.make(self._mounts, folders.PRIVATE)
        folders.make(self._records, folders.PRIVATE)
        for _ in self.all():
            pass

    def close(self) -> None:
        """Close the sockets, and remove the folders if they are empty."""
        self._sockets.close()
        self._spares.close()
        for sandbox in list(self._resolvers):
            self._close_resolver(sandbox)
        for folder in (self._mounts, self._records):
            with suppress(OSError):
                folder.rmdir()

    def path(self, sandbox: str) -> Path:
        return self._mounts / short(sandbox)

    def rtnl(self, sandbox: str) -> Rtnl:
        """Return a socket in the sandbox's namespace, which stays open.  Raises KernelRefused if there is none."""
        return self._sockets.get(self._existing(sandbox))

    def _existing(self, sandbox: str) -> Path:
        path = self.path(sandbox)
        if not netns.exists(path):
            raise KernelRefused(f"sandbox {short(sandbox)} has no network namespace at {path}", errno.ENOENT)
        return path

    def run_in(self, sandbox: str, body: Callable[[], T]) -> T:
        """Run *body* in the sandbox's namespace and return its result.  Raises KernelRefused if there is none."""
        return netns.run_in(self._existing(sandbox), body)

    def put(self, fact: Namespace, *, with_links: bool = False) -> None:
        """Create the namespace with ``lo`` up; in an existing namespace only set the sysctls.

        If the sandbox gets links next, a spare namespace is used.
        """
        self._records.joinpath(fact.sandbox).write_text("".join(f"{name}={value}\n" for name, value in fact.sysctls))
        path = self.path(fact.sandbox)
        if netns.exists(path):
            self.run_in(fact.sandbox, lambda: sysctl.write_all(fact.sysctls))
        elif with_links and (spare := self._spares.take(fact.sysctls)) is not None:
            self._use_spare(fact.sandbox, path, spare)
        else:
            self._sockets.keep(path, netns.create(path, lambda: _prepare(fact.sysctls)))

    def _use_spare(self, sandbox: str, path: Path, spare: SpareNamespace) -> None:
        try:
            spare.mount(path)
        except BaseException:
            spare.close()
            raise
        self._sockets.keep(path, spare.rtnl)
        self._close_resolver(sandbox)
        self._resolvers[short(sandbox)] = spare.resolver

    def take_resolver(self, sandbox: str) -> Resolver | None:
        """Return the DNS sockets that are open in the sandbox, which the caller owns from then on; None without."""
        return self._resolvers.pop(short(sandbox), None)

    def _close_resolver(self, sandbox: str) -> None:
        if (left := self.take_resolver(sandbox)) is not None:
            left.close()

    def make_spare(self, redirect: RedirectDns) -> bool:
        """Make a spare namespace; return whether further ones are missing."""
        return self._spares.fill(redirect)

    def adopt(self, sandbox: str, source: str) -> None:
        """Mount the namespace at *source* as the sandbox's, with ``lo`` up.  Raises KernelRefused if there is none."""
        try:
            path = self.path(sandbox)
            self._sockets.keep(path, netns.adopt(Path(source), path, _prepare))
        except OSError as problem:
            raise KernelRefused(
                f"{source} cannot be used for sandbox {short(sandbox)}: {problem.strerror or problem}; name a network"
                " namespace other than netd's own",
                problem.errno or 0,
            ) from None

    def delete(self, sandbox: str) -> None:
        """Unmount the namespace; the kernel deletes it and its links after its last process."""
        self._close_resolver(sandbox)
        self._sockets.forget(self.path(sandbox))
        netns.remove(self.path(sandbox))
        self._records.joinpath(sandbox).unlink(missing_ok=True)

    def all(self) -> Iterator[Namespace]:
        """Yield the existing namespaces; a namespace without a record has its short id.

        Deletes files without a namespace, which a failed deletion has left.  Called by the thread that also creates
        namespaces, or while it waits, so that none is half made.
        """
        known = set()
        for name, size in _files(self._records):
            if netns.exists(f"{self._mounts}/{short(name)}"):
                known.add(short(name))
                yield self._read(self._records / name) if size else Namespace(sandbox=name)
            else:
                _unlink(self._records / name)
        for name, _ in _files(self._mounts):
            if name in known:
                continue
            if netns.exists(f"{self._mounts}/{name}"):
                yield Namespace(sandbox=name)
            else:
                _unlink(self._mounts / name)

    def read_all(self, read: Callable[[Rtnl], T]) -> list[tuple[Namespace, T]]:
        """Return each existing namespace, and what *read* returns for the socket in it.

        One thread enters all namespaces; the caller waits.
        """

        def sweep() -> list[tuple[Namespace, T]]:
            return [(found, read(self._sockets.get_by_entering(self.path(found.sandbox)))) for found in self.all()]

        return netns.in_new_thread(sweep)

    def select(self, sandboxes: Iterable[str], accept: Callable[[], bool]) -> list[str]:
        """Return the sandboxes in whose namespace *accept* returns True or raises OSError or KernelRefused.

        One thread enters all namespaces; the caller waits.
        """

        def accepted(sandbox: str) -> bool:
            try:
                netns.enter(self.path(sandbox))
                return accept()
            except (OSError, KernelRefused):
                return True

        return netns.in_new_thread(lambda: [sandbox for sandbox in sandboxes if accepted(sandbox)])

    def find(self, sandbox: str) -> Namespace | None:
        if not netns.exists(self.path(sandbox)):
            return None
        record = self._records / sandbox
        return self._read(record) if record.exists() else Namespace(sandbox=sandbox)

    def _read(self, record: Path) -> Namespace:
        return Namespace(sandbox=record.name, sysctls=sysctl_journal.read(record))

    def put_default_route(self, fact: DefaultRoute) -> None:
        inside = self.rtnl(fact.sandbox)
        ends = inside.ends(fact.interface) if fact.gateway.is_link_local and fact.interface else None
        inside.talk(rtnl.put_default_route(fact.gateway, ends[0] if ends else 0))

    def delete_default_route(self, fact: DefaultRoute) -> None:
        """Delete the default route; without the namespace it does not exist."""
        if netns.exists(self.path(fact.sandbox)):
            self.rtnl(fact.sandbox).talk(rtnl.delete_default_route(fact.gateway))


def _files(folder: Path) -> list[tuple[str, int]]:
    """Return names and sizes of the files in a folder, in the order of their names; symbolic links are not followed."""
    with os.scandir(folder) as found:
        return sorted((entry.name, entry.stat(follow_symlinks=False).st_size) for entry in found)


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        _log.warning("stale file not deleted: path=%s error=%s", path, error.strerror)


def _prepare(settings: sysctl_journal.Settings = ()) -> Rtnl:
    """Configure the calling thread's namespace before it gets links, and return a socket in it.

    New links have no IPv6, as in Docker: netd enables it on links with an IPv6 address.
    """
    inside = Rtnl()
    try:
        inside.talk(rtnl.set_link(_LOOPBACK, up=True))
        sysctl.write_optional("net/ipv6/conf/default/disable_ipv6", "1")
        sysctl.write_all(settings)
    except BaseException:
        inside.close()
        raise
    return inside
