"""Rtnetlink sockets in the namespaces of sandboxes, kept open: opening one takes a thread that enters the namespace.

An open socket keeps its namespace alive, so the owner closes it before it deletes the namespace.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

from netd.kernel.namespaces import netns
from netd.kernel.netlink.rtnl_socket import Rtnl

_MOST = 256
"""Open sockets; the least recently used is closed."""


class SandboxSockets:
    """Use it in one thread at a time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[int, Rtnl]] = OrderedDict()
        """By the name of the namespace's file: the inode of the namespace, and the socket."""

    def get(self, path: Path) -> Rtnl:
        """Return the socket in the namespace that is mounted on *path* now."""
        return self._find(path) or self.keep(path, netns.run_in(path, Rtnl))

    def get_by_entering(self, path: Path) -> Rtnl:
        """Do what ``get`` does; without a socket, the calling thread enters the namespace and stays in it."""
        if (kept := self._find(path)) is not None:
            return kept
        netns.enter(path)
        return self.keep(path, Rtnl())

    def _find(self, path: Path) -> Rtnl | None:
        kept = self._kept.get(path.name)
        if kept is None or kept[0] != os.stat(path).st_ino:
            return None
        self._kept.move_to_end(path.name)
        return kept[1]

    def keep(self, path: Path, opened: Rtnl) -> Rtnl:
        """Own a socket that was opened in the namespace on *path*."""
        self.forget(path)
        self._kept[path.name] = os.stat(path).st_ino, opened
        if len(self._kept) > _MOST:
            _, (_, oldest) = self._kept.popitem(last=False)
            oldest.close()
        return opened

    def forget(self, path: Path) -> None:
        """Close the socket of a namespace that is deleted."""
        if (kept := self._kept.pop(path.name, None)) is not None:
            kept[1].close()

    def close(self) -> None:
        for _, opened in self._kept.values():
            opened.close()
        self._kept.clear()
