"""Network namespaces made in advance, with the DNS sockets of a sandbox open in them.

They are held by descriptors and mounted nowhere: when netd ends, however it ends, nothing of them is left.  They are
used only while the sysctls are unchanged that they have from the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from netd.host_protocol import Resolver
from netd.kernel import sysctl
from netd.kernel.namespaces import dns_sockets, libc, netns
from netd.kernel.namespaces.dns_sockets import RedirectDns
from netd.kernel.namespaces.inherited_sysctls import InheritedSysctls, Values
from netd.kernel.netlink.rtnl_socket import Rtnl
from netd.kernel.sysctl_journal import Settings

_MOST = 2
_MISSES = 3
"""Requests in a row for other sysctls, after which the next spare namespaces get those."""


@dataclass(frozen=True, slots=True)
class SpareNamespace:
    """A namespace without links other than loopback; ``resolver.netns`` is its descriptor."""

    rtnl: Rtnl
    resolver: Resolver

    def mount(self, path: Path) -> None:
        """Mount the namespace on *path*, from then on as a sandbox's."""
        path.touch()
        libc.bind_mount(f"/proc/self/fd/{self.resolver.netns}", str(path))

    def close(self) -> None:
        self.rtnl.close()
        self.resolver.close()


class SpareNamespaces:
    """Use it in one thread."""

    def __init__(self, prepare: Callable[[Settings], Rtnl]) -> None:
        """*prepare* sets sysctls in the namespace of the calling thread and returns a socket in it."""
        self._prepare = prepare
        self._settings: Settings | None = None
        """The sysctls of the spare namespaces: most containers have the same."""
        self._misses = 0
        """Requests for other sysctls since the last request for these."""
        self._ready: list[SpareNamespace] = []
        self._host = InheritedSysctls()
        self._inherited: Values = ()
        """The sysctls of the host that the ready namespaces have."""

    def take(self, settings: Settings) -> SpareNamespace | None:
        """Return a namespace with these sysctls, which the caller owns from then on; None if none is ready."""
        if settings == self._settings:
            self._misses = 0
            self._discard_outdated()
            return self._ready.pop() if self._ready else None
        self._misses += 1
        if self._settings is None or self._misses >= _MISSES:
            self._discard()
            self._settings, self._misses = settings, 0
        return None

    def fill(self, redirect: RedirectDns) -> bool:
        """Make one namespace if less than the most are ready; return whether further ones are missing."""
        settings = self._settings
        if settings is None:
            return False
        self._discard_outdated()
        if len(self._ready) < _MOST:
            self._inherited = self._host.read()
            self._ready.append(netns.in_new_thread(lambda: self._make(settings, redirect)))
        return len(self._ready) < _MOST

    def close(self) -> None:
        self._discard()
        self._host.close()

    def _discard_outdated(self) -> None:
        """Discard the namespaces if the host has other values now of the sysctls that a new namespace copies."""
        if self._ready and self._inherited != self._host.read():
            self._discard()

    def _discard(self) -> None:
        while self._ready:
            self._ready.pop().close()

    def _make(self, settings: Settings, redirect: RedirectDns) -> SpareNamespace:
        libc.unshare(libc.CLONE_NEWNET)
        sysctl.keep_folder()
        inside = self._prepare(settings)
        try:
            return SpareNamespace(inside, dns_sockets.open_here(redirect))
        except BaseException:
            inside.close()
            raise
