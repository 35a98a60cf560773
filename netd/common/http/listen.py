"""Serving of a daemon's unix socket and of TCP addresses."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from netd.common.addresses import tcp_address
from netd.common.errors import BadRequest
from netd.common.http.accept import Acceptor
from netd.common.http.admission import Bounds
from netd.common.http.client_connections import Server
from netd.common.http.listening_socket import ListeningSocket, listen
from netd.common.http.web import Front
from netd.common.tasks import Tasks

_BACKLOG = 512
_TCP_CLIENTS = 64
_SHUTDOWN_SECONDS = 2.0
"""How long running requests may take after the daemon was asked to stop."""
_LOOK_SECONDS = 2.0
"""How often a deleted socket is looked for."""
_log = logging.getLogger(__name__)


class Serving:
    """A socket that is being served."""

    def __init__(self, server: Server, acceptor: Acceptor) -> None:
        self._server = server
        self._acceptor = acceptor
        self._opened: ListeningSocket | None = None
        self._watch: asyncio.Task[None] | None = None

    def keep(self, opened: ListeningSocket, tasks: Tasks) -> None:
        """Listen again at the path of *opened*, the socket that is served, when its file is deleted."""
        self._opened = opened

        async def watch() -> None:
            served = opened
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                if fresh := served.again():
                    former, served = self._acceptor, fresh
                    self._opened, self._acceptor = fresh, Acceptor(fresh.listener, self._server, tasks)
                    former.close()
                    _log.warning("the socket was deleted and is created again: socket=%s", fresh.path)

        self._watch = tasks.loop(watch, "socket")

    async def cleanup(self) -> None:
        """Stop accepting, and close the connections: idle ones at once, others within two seconds."""
        if self._watch is not None:
            self._watch.cancel()
        self._acceptor.close()
        # Requests that were received already are started first.
        await asyncio.sleep(0)
        self._server.pre_shutdown()
        await self._server.shutdown(_SHUTDOWN_SECONDS)

    def unlink(self) -> None:
        """Remove the file of a unix socket."""
        if self._opened is not None:
            self._opened.unlink()


async def serve(
    front: Front, path: Path, group: str, bounds: Bounds | None = None, tasks: Tasks | None = None
) -> Serving:
    """Listen on *path*, as ``listening_socket.listen`` does, and serve."""
    return await serve_socket(front, listen(path, group), bounds, tasks)


async def serve_socket(
    front: Front, opened: ListeningSocket, bounds: Bounds | None = None, tasks: Tasks | None = None
) -> Serving:
    """Serve a socket that listens already; clients that have connected meanwhile are served first."""
    tasks = tasks or Tasks()
    server = Server(front.handle, bounds or _bounds(), access_log=None, keepalive_timeout=75)
    serving = Serving(server, Acceptor(opened.listener, server, tasks))
    serving.keep(opened, tasks)
    return serving


async def serve_metrics(front: Front, address: str, tasks: Tasks) -> Serving:
    """Serve ``GET /metrics`` of *front* at a TCP address.  Raises BadRequest if it cannot be bound."""

    def refusal(request: web.BaseRequest) -> web.Response | None:
        if (request.method, request.path) != ("GET", "/metrics"):
            return web.Response(status=404, text="only GET /metrics is served here\n")
        return None

    return await serve_tcp(front, address, "metrics", refusal, tasks)


async def serve_tcp(
    front: Front, address: str, what: str, refusal: Callable[[web.BaseRequest], web.Response | None], tasks: Tasks
) -> Serving:
    """Serve *front* at a TCP address, except requests for which *refusal* returns a response.

    Raises BadRequest, in which *what* names the purpose, if the address cannot be bound.
    """

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return refusal(request) or await front.handle(request)

    host, port = tcp_address(address)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BadRequest(f"{what} cannot be served at {address}: {error.strerror}; choose another address") from None
    listener.listen(_BACKLOG)
    server = Server(handle, Bounds(connections=_TCP_CLIENTS), access_log=None, keepalive_timeout=75)
    return Serving(server, Acceptor(listener, server, tasks))


def _bounds() -> Bounds:
    """Return the default limits, with at most half of the process's descriptors for clients."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Bounds(connections=max(min(Bounds().connections, descriptors // 2), 64))
