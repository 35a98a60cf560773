"""A daemon's unix socket: made with the right owner and mode from its first moment, and served.

The socket appears by rename, so a client sees the old one or the ready new one, nothing between.
"""

from __future__ import annotations

import grp
import os
import socket
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from netd.common.hijack import HijackServer
from netd.common.web import Front


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
