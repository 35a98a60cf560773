"""A daemon's unix socket: made with the right owner and mode from its first moment, and served.

The socket appears by rename, so a client sees the old one or the ready new one, nothing between.
"""

from __future__ import annotations

import fcntl
import grp
import os
import socket
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from netd.common.errors import Conflict
from netd.common.hijack import HijackServer
from netd.common.web import Front


def lock(path: Path, program: str) -> int:
    """Hold *path* for this process's life and return its descriptor.  Raises Conflict when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Conflict(f"another {program} runs on {path.parent}; stop it, or choose another --run-dir") from None
    return handle


async def serve(front: Front, path: Path, group: str) -> web.ServerRunner:
    """Listen on *path* for root and the members of *group*; ``cleanup()`` of what is returned stops it."""
    runner = web.ServerRunner(HijackServer(front.handle, access_log=None, keepalive_timeout=75), shutdown_timeout=2.0)
    await runner.setup()
    await web.SockSite(runner, _bound(path, group), backlog=512).start()
    return runner


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
    fresh.rename(path)
    return listener
