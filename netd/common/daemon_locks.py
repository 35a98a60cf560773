"""Keeps two daemons off the same state and two netds off the same network namespace.

The kernel releases every lock with its process, so a killed daemon can be started again at once.  The descriptors are
closed on exec: processes that outlive a daemon hold none of them.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

from netd.common.errors import Conflict

_log = logging.getLogger(__name__)
_NAMESPACE = "\0netd.namespace"
"""Abstract names belong to the network namespace."""
_BACKLOG = 4096
"""Connections are never accepted: the kernel tells who listens without that."""
_ATTEMPTS, _PAUSE = 20, 0.01
"""For the moment between bind and listen of another daemon; seconds."""


def lock(path: Path, program: str) -> int:
    """Hold *path* in RUN for this process's life and return its descriptor.

    Raises Conflict when another process holds it.
    """
    return _lock(path, f"another {program} runs on {path.parent}", "--run-dir")


def lock_state(path: Path, program: str) -> int:
    """Hold *path* in STATE as :func:`lock` does."""
    return _lock(path, f"another {program} keeps its state in {path.parent}", "--state-dir")


def lock_namespace(program: str) -> socket.socket:
    """Hold this network namespace while the socket that is returned is open.

    Raises Conflict when a process of our user holds it.  Any user may take the name: one that is not ours is logged.
    """
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(_NAMESPACE)
        holder.listen(_BACKLOG)
    except OSError:
        pid, user = _listener()
        if user == os.geteuid():
            holder.close()
            process = f" (process {pid})" if pid else ""
            raise Conflict(
                f"another {program}{process} manages this network namespace; stop it, or start this {program} in a"
                " namespace of its own"
            ) from None
        _log.warning("network namespace not locked, another user holds its name: pid=%d user=%d", pid, user)
    return holder


def _lock(path: Path, fault: str, flag: str) -> int:
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 32).decode(errors="replace").strip()
        os.close(handle)
        process = f" (process {holder})" if holder.isdigit() else ""
        raise Conflict(f"{fault}{process}; stop it, or choose another {flag}") from None
    with suppress(OSError):
        # A full disk costs others the number of this process, not this process its lock.
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
    # On a read-only disk a file that can be read is locked as well, and the folder where there is none.
    return os.open(path if path.exists() else path.parent, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _listener() -> tuple[int, int]:
    """Return process and user of whoever listens at the namespace's name; (0, -1) when nobody does."""
    for _ in range(_ATTEMPTS):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            try:
                client.connect(_NAMESPACE)
            except OSError:
                time.sleep(_PAUSE)
                continue
            pid, user, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return pid, user
    return 0, -1
