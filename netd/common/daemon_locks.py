"""Locks that admit one daemon per state and run directory, and one netd per network namespace.

The kernel releases a lock when its process ends, so a killed daemon can be restarted at once.  The descriptors are
close-on-exec, so processes that outlive the daemon do not keep a lock.
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
"""Abstract socket names are scoped to the network namespace (unix(7))."""
_BACKLOG = 4096
"""Connections are never accepted: SO_PEERCRED gives the listener's credentials without ``accept``."""
_ATTEMPTS, _PAUSE = 20, 0.01
"""Retries, and seconds between them, while another daemon is between ``bind`` and ``listen``."""


def lock(path: Path, program: str) -> int:
    """Lock the file *path* in RUN until this process ends, and return its descriptor.

    Raises Conflict when another process holds it.
    """
    return _lock(path, f"another {program} runs on {path.parent}", "--run-dir")


def lock_state(path: Path, program: str) -> int:
    """Lock the file *path* in STATE, as :func:`lock` does in RUN."""
    return _lock(path, f"another {program} keeps its state in {path.parent}", "--state-dir")


def lock_namespace(program: str) -> socket.socket:
    """Lock this network namespace while the returned socket is open.

    Raises Conflict when a process of the same user holds the lock.  Any user can bind the abstract name, so a holder
    that runs as another user is logged and ignored.
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
        # The pid in the file only serves error messages: a full disk must not fail the lock.
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
    # On a read-only disk, lock a descriptor opened for reading: of the file, or of its folder if there is no file.
    return os.open(path if path.exists() else path.parent, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _listener() -> tuple[int, int]:
    """Return the pid and uid of the process that listens at the abstract name; (0, -1) if there is none."""
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
