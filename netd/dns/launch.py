"""Starting the name server's process and finding one that is already there."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import netd

_CONTROL = 3
"""The descriptor at which a new server finds its listening socket."""
_LOG_SIZE = 1 << 20
"""Bytes after which the log of a starting server begins anew."""
_BACKLOG = 8


def dial(path: Path) -> socket.socket | None:
    """Connect to the server that listens at *path*; None if there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    return sock


def spawn(path: Path, log_path: Path, resolv_conf: Path) -> Child:
    """Start a server that listens at *path*, in a session of its own; it can be dialled at once, before it has loaded.

    Its log is a file and not our standard error, which may be a pipe that somebody waits to see closed.
    """
    listener = _listen(path)
    log = _open_log(log_path)
    command = [sys.executable, "-P", "-m", "netd.dns", f"--control={_CONTROL}"]
    command += [f"--socket={path}", f"--resolv-conf={resolv_conf}"]
    try:
        pid = os.posix_spawn(
            sys.executable,
            command,
            {**os.environ, "PYTHONPATH": str(Path(netd.__file__).resolve().parents[1])},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, listener.fileno(), _CONTROL),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGTERM],
        )
    finally:
        listener.close()
        os.close(log)
    return Child(pid)


def _listen(path: Path) -> socket.socket:
    """Return a listening socket that replaces whatever is at *path*; only its owner can connect."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(new))
    new.chmod(0o600)
    listener.listen(_BACKLOG)
    new.rename(path)
    return listener


def _open_log(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if path.exists() and path.stat().st_size > _LOG_SIZE:
        flags |= os.O_TRUNC
    return os.open(path, flags, 0o600)


class Child:
    """A server that is our child: taken off the process table when it ends, and left alone otherwise."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    async def ended(self) -> None:
        await self._ended.wait()

    async def kill(self) -> None:
        """End it if it still runs; one that cannot be reached would go on answering with what it last knew."""
        if not self._ended.is_set():
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        await self.ended()

    def release(self) -> None:
        """Stop waiting for it; it goes on."""
        if not self._ended.is_set():
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._ended.set()

    def _reap(self) -> None:
        self.release()
        os.waitpid(self._pid, 0)
