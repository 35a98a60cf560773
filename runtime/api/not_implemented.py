"""Calls of Docker's Engine API that are not implemented: the response is 501, with a message that names the call.

Calls of swarm mode return 503, as Docker's do on a node outside a swarm; ``GET /plugins`` returns an empty list.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from netd.common.errors import NotImplementedYet, Unavailable
from netd.common.http.web import Call, Handler, HttpRoute

_NOT_IMPLEMENTED = """
GET /containers/{name:path}/attach/ws
POST /plugins/create
GET /plugins/privileges
POST /plugins/pull
"""
_SWARM = """
GET /configs
GET /nodes
GET /secrets
GET /services
GET /swarm
GET /tasks
POST /swarm/init
POST /swarm/join
POST /swarm/leave
POST /swarm/update
"""


def routes() -> Sequence[HttpRoute]:
    return [
        *_routes(_NOT_IMPLEMENTED, _not_implemented),
        *_routes(_SWARM, _swarm),
        HttpRoute("GET", "/plugins", _no_plugins),
    ]


def _routes(lines: str, handler: Handler) -> list[HttpRoute]:
    return [HttpRoute(method, path, handler) for method, path in map(str.split, lines.strip().splitlines())]


async def _not_implemented(call: Call) -> web.StreamResponse:
    raise NotImplementedYet(f"{call.request.method} {call.request.path} is not implemented by netd-runtime yet")


async def _swarm(_: Call) -> web.StreamResponse:
    raise Unavailable("This node is not a swarm manager: swarm mode is not part of netd")


async def _no_plugins(_: Call) -> web.StreamResponse:
    return web.json_response([])
