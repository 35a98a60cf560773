"""Starting the netd-dns process and finding a running one."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

import netd

log = logging.getLogger(__name__)

_CONTROL = 3
"""The descriptor of the listening socket in the new process."""
_LOG_SIZE = 1 << 20
"""Bytes beyond which the log file is truncated at the start of a server."""
_BACKLOG = 128
KILL_LIMIT = 3.0
"""Seconds to wait for a killed process; one in an uninterruptible system call takes longer."""


def connect(path: Path) -> socket.socket | None:
    """Connect to the server that listens at *path*; None if no server listens or its backlog is full."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
        sock.close()
        return None
    return sock


def spawn(path: Path, log_path: Path, resolv_conf: Path) -> Process:
    """Start a server that listens at *path*, in a session of its own; clients can connect before it has loaded.

    It logs to a file and not to netd's standard error, which may be a pipe whose reader waits for end of file.
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
    return Process(os.pidfd_open(pid), pid)


def _listen(path: Path) -> socket.socket:
    """Return a listening socket that replaces any file at *path*; only its owner can connect (mode 0600)."""
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


def peer_process(sock: socket.socket, path: Path) -> Process | None:
    """Return the server process of a connection, from SO_PEERCRED, the caller of listen(2); None if it is unknown."""
    pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        is_server = f"--socket={path}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        is_server = False
    if not is_server:
        os.close(pidfd)
        return None
    return Process(pidfd)


class Process:
    """A server process; reaped when it exits if it is a child of this process."""

    def __init__(self, pidfd: int, child: int | None = None) -> None:
        self._pidfd = pidfd
        self._child = child
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    async def kill(self) -> None:
        """Kill the process if it runs: without a connection it would keep answering with outdated records."""
        if not self._ended.is_set():
            with suppress(ProcessLookupError):  # It has ended, and was not reaped yet.
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        try:
            async with asyncio.timeout(KILL_LIMIT):
                await self._ended.wait()
        except TimeoutError:
            log.error("killed netd-dns did not exit: limit=%s", KILL_LIMIT)
            self.release()

    def release(self) -> None:
        """Stop waiting for the process; it keeps running."""
        if not self._ended.is_set():
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._ended.set()

    def _reap(self) -> None:
        self.release()
        if self._child is not None:
            os.waitpid(self._child, 0)
