"""``/networks``: netd's own, handed on as they are, but for what concerns a container of ours."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from aiohttp import web

from netd.api import ConnectRequest, DisconnectRequest, EndpointSettings
from netd.client import NetdClient
from netd.common import codec
from netd.common.errors import NotFound
from netd.common.http.web import Call, Route, empty
from runtime.api import bodies
from runtime.engine.containers.containers import Fleet
from runtime.engine.network.attachment import Network


class NetworkRoutes:
    def __init__(self, netd: NetdClient, network: Network, fleet: Fleet) -> None:
        self._netd = netd
        self._network = network
        self._fleet = fleet

    def routes(self) -> Sequence[Route]:
        return [
            Route("POST", "/networks/{name}/connect", self.connect),
            Route("POST", "/networks/{name}/disconnect", self.disconnect),
            Route("GET", "/networks", self.forward),
            Route("POST", "/networks/create", self.forward),
            Route("POST", "/networks/prune", self.forward),
            Route("GET", "/networks/{name}", self.forward),
            Route("DELETE", "/networks/{name}", self.forward),
        ]

    async def connect(self, call: Call) -> web.StreamResponse:
        asked = await bodies.read(call, ConnectRequest)
        live = self._fleet.find(asked.container)
        await self._network.connect(live, call.params["name"], asked.endpoint_config or EndpointSettings())
        return empty(200)

    async def disconnect(self, call: Call) -> web.StreamResponse:
        asked = await bodies.read(call, DisconnectRequest)
        try:
            live = self._fleet.find(asked.container)
        except NotFound:
            if not asked.force:
                raise
            return await self._hand_on(call, codec.encode(asked))
        await self._network.disconnect(live, call.params["name"], asked.force)
        return empty(200)

    async def forward(self, call: Call) -> web.StreamResponse:
        return await self._hand_on(call, await call.raw())

    async def _hand_on(self, call: Call, body: bytes) -> web.StreamResponse:
        request = call.request
        await self._network.settled()
        kind = request.headers.get("Content-Type", "")
        answer = await self._netd.forward(request.method, quote(request.path, safe="/"), request.query, body, kind)
        return web.Response(status=answer.status, body=answer.body or None, content_type="application/json")
