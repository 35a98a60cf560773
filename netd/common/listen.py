"""A daemon's unix socket: made with the right owner and mode from its first moment, and served.

The socket appears by rename, so a client sees the old one or the ready new one, nothing between.
"""

from __future__ import annotations

import grp
import os
import resource
import socket
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from netd.common.admission import Bounds
from netd.common.connections import Server
from netd.common.web import Front


async def serve(front: Front, path: Path, group: str, bounds: Bounds | None = None) -> web.ServerRunner:
    """Listen on *path* for root and the members of *group*; ``cleanup()`` of what is returned stops it."""
    server = Server(front.handle, bounds or _bounds(), access_log=None, keepalive_timeout=75)
    runner = web.ServerRunner(server, shutdown_timeout=2.0)
    await runner.setup()
    await web.SockSite(runner, _bound(path, group), backlog=512).start()
    return runner


def _bounds() -> Bounds:
    """Leave half of the process's descriptors to what is not a client."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Bounds(connections=max(min(Bounds().connections, descriptors // 2), 64))


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
