"""Routes ``/networks``: forwarded to netd, except connecting and disconnecting containers of this daemon."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from aiohttp import web

from netd.api import ConnectRequest, DisconnectRequest, EndpointSettings
from netd.client import NetdClient
from netd.common import codec
from netd.common.errors import BadRequest, NotFound
from netd.common.http.deletion_stream import Deleted, respond
from netd.common.http.web import Call, HttpRoute, empty
from runtime.api import bodies
from runtime.engine.containers.containers import Containers
from runtime.engine.network.attachment import NetworkAttachments


class NetworkRoutes:
    def __init__(self, netd: NetdClient, network: NetworkAttachments, containers: Containers) -> None:
        self._netd = netd
        self._network = network
        self._containers = containers

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("POST", "/networks/{name}/connect", self.connect),
            HttpRoute("POST", "/networks/{name}/disconnect", self.disconnect),
            HttpRoute("GET", "/networks", self.forward),
            HttpRoute("POST", "/networks/create", self.forward),
            HttpRoute("POST", "/networks/prune", self.prune),
            HttpRoute("GET", "/networks/{name}", self.forward),
            HttpRoute("DELETE", "/networks/{name}", self.forward),
        ]

    async def connect(self, call: Call) -> web.StreamResponse:
        request = await bodies.read(call, ConnectRequest)
        _check_container(request.container)
        container = self._containers.find(request.container)
        await self._network.connect(container, call.params["name"], request.endpoint_config or EndpointSettings())
        return empty(200)

    async def disconnect(self, call: Call) -> web.StreamResponse:
        request = await bodies.read(call, DisconnectRequest)
        _check_container(request.container)
        try:
            container = self._containers.find(request.container)
        except NotFound:
            if not request.force:
                raise
            return await self._forward(call, codec.encode(request))
        await self._network.disconnect(container, call.params["name"], request.force)
        return empty(200)

    async def prune(self, call: Call) -> web.StreamResponse:
        async def work(deleted: Deleted) -> dict[str, Any]:
            await self._network.wait_for_leaves()
            names = []
            async with aclosing(self._netd.prune_networks(call.text("filters"))) as pruned:
                async for name in pruned:
                    names.append(name)
                    await deleted(name)
            return {"NetworksDeleted": names or None}

        return await respond(call, work)

    async def forward(self, call: Call) -> web.StreamResponse:
        return await self._forward(call, await call.raw())

    async def _forward(self, call: Call, body: bytes) -> web.StreamResponse:
        await self._network.wait_for_leaves()
        kind = call.request.headers.get("Content-Type", "")
        path = quote(call.request.path, safe="/")
        response = await self._netd.forward(call.request.method, path, call.request.query, body, kind)
        return web.Response(status=response.status, body=response.body or None, content_type="application/json")


def _check_container(name: str) -> None:
    if not name:
        raise BadRequest('invalid name or ID supplied: ""')
