"""A daemon's unix socket: bound with its final owner and mode before the daemon loads anything, so that clients wait.

The socket is renamed into place, so a client finds either the former socket or the new one with its final mode.
Must be called with the lock of the folder, and import little: clients of a daemon that restarts find no socket
meanwhile.
"""

from __future__ import annotations

import grp
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from netd import service_manager

_BACKLOG = 512
"""Connections that wait until the daemon accepts them."""


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    listener: socket.socket
    path: Path | None
    """None for a socket of the service manager, which keeps it."""
    group: str = ""

    def again(self) -> ListeningSocket | None:
        """Return a new socket at the path if its file was deleted, so that clients cannot connect; else None."""
        if self.path is None or os.path.lexists(self.path):
            return None
        return ListeningSocket(_bound(self.path, self.group), self.path, self.group)

    def unlink(self) -> None:
        """Remove the socket's file."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def listen(path: Path, group: str) -> ListeningSocket:
    """Listen on *path* for root and the members of *group*; for root only if the group does not exist.

    A socket that the service manager passed under the file's name is used as it is.
    """
    passed = service_manager.passed_socket(path.name)
    if passed is None:
        return ListeningSocket(_bound(path, group), path, group)
    passed.listen(_BACKLOG)
    return ListeningSocket(passed, None)


@contextmanager
def listening(path: Path, group: str) -> Iterator[ListeningSocket]:
    """Listen as ``listen`` does, and remove the socket's file at the end."""
    opened = listen(path, group)
    try:
        yield opened
    finally:
        opened.unlink()
        opened.listener.close()


def _bound(path: Path, group: str) -> socket.socket:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        fresh.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(fresh))
    fresh.chmod(0o600)
    with suppress(KeyError):
        os.chown(fresh, 0, grp.getgrnam(group).gr_gid)
        fresh.chmod(0o660)
    listener.listen(_BACKLOG)
    fresh.rename(path)
    return listener
