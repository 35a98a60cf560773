"""Calls of Docker's Engine API that are not part of netd: each response says so and names the call.

Calls of swarm mode return 503, as Docker's do on a node outside a swarm.  Plugins are never found.  The BuildKit calls
are refused, so that clients build with the classic builder.  docs/engine-api.md lists all calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from netd.common.errors import NotFound, NotImplementedYet, Unavailable
from netd.common.http.web import Call, Handler, HttpRoute, json

_PLUGIN_FILTERS = frozenset({"capability", "enabled"})

_PLUGIN_INSTALLATION = """
POST /plugins/create
GET /plugins/privileges
POST /plugins/pull
"""
_ONE_PLUGIN = """
GET /plugins/{name:path}/json
POST /plugins/{name:path}/enable
POST /plugins/{name:path}/disable
POST /plugins/{name:path}/upgrade
POST /plugins/{name:path}/push
POST /plugins/{name:path}/set
DELETE /plugins/{name:path}
"""
_BUILDKIT = """
POST /session
POST /grpc
"""
_SWARM = """
GET /swarm
POST /swarm/init
POST /swarm/join
POST /swarm/leave
POST /swarm/update
GET /swarm/unlockkey
POST /swarm/unlock
GET /nodes
GET /nodes/{id}
DELETE /nodes/{id}
POST /nodes/{id}/update
GET /services
POST /services/create
GET /services/{id}
DELETE /services/{id}
POST /services/{id}/update
GET /services/{id}/logs
GET /tasks
GET /tasks/{id}
GET /tasks/{id}/logs
GET /secrets
POST /secrets/create
GET /secrets/{id}
DELETE /secrets/{id}
POST /secrets/{id}/update
GET /configs
POST /configs/create
GET /configs/{id}
DELETE /configs/{id}
POST /configs/{id}/update
"""


def routes() -> Sequence[HttpRoute]:
    return [
        *_routes(_PLUGIN_INSTALLATION, _no_plugin_installation),
        *_routes(_ONE_PLUGIN, _no_such_plugin),
        *_routes(_BUILDKIT, _no_buildkit),
        *_routes(_SWARM, _swarm),
        HttpRoute("GET", "/plugins", _no_plugins),
    ]


def _routes(lines: str, handler: Handler) -> list[HttpRoute]:
    return [HttpRoute(method, path, handler) for method, path in map(str.split, lines.strip().splitlines())]


async def _no_plugin_installation(call: Call) -> web.StreamResponse:
    raise NotImplementedYet(
        f"{call.request.method} {call.request.path} is not implemented by netd-runtime: plugins of networks are found"
        " in the folders of the setting plugin_dirs"
    )


async def _no_such_plugin(call: Call) -> web.StreamResponse:
    raise NotFound(f'plugin "{call.params["name"]}" not found')


async def _no_buildkit(call: Call) -> web.StreamResponse:
    raise NotImplementedYet(
        f"{call.request.method} {call.request.path} is not implemented by netd-runtime: build with the classic builder"
        " (DOCKER_BUILDKIT=0)"
    )


async def _swarm(_: Call) -> web.StreamResponse:
    raise Unavailable("This node is not a swarm manager: swarm mode is not part of netd")


async def _no_plugins(call: Call) -> web.StreamResponse:
    call.filters(_PLUGIN_FILTERS)
    return json([])
