"""``/netd/v1/sandboxes``: all the networking of a container in one object, for runtimes."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from netd.api import ConnectRequest, DisconnectRequest, PortsRequest, RenameRequest, SandboxRequest
from netd.common.http.web import Call, HttpRoute, empty, json
from netd.engine.sandboxes.actions import Sandboxes
from netd.engine.sandboxes.connections import Connections
from netd.engine.sandboxes.port_changes import PortChanges

_ROOT = "/netd/v1"


class SandboxRoutes:
    def __init__(self, sandboxes: Sandboxes, connections: Connections, ports: PortChanges) -> None:
        self._sandboxes = sandboxes
        self._connections = connections
        self._ports = ports

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("GET", f"{_ROOT}/sandboxes", self.list),
            HttpRoute("POST", f"{_ROOT}/sandboxes", self.create),
            HttpRoute("POST", f"{_ROOT}/sandboxes/check", self.check),
            HttpRoute("GET", f"{_ROOT}/sandboxes/{{id}}", self.inspect),
            HttpRoute("DELETE", f"{_ROOT}/sandboxes/{{id}}", self.remove),
            HttpRoute("POST", f"{_ROOT}/sandboxes/{{id}}/rename", self.rename),
            HttpRoute("POST", f"{_ROOT}/sandboxes/{{id}}/ports", self.publish),
            HttpRoute("DELETE", f"{_ROOT}/sandboxes/{{id}}/ports", self.unpublish),
            HttpRoute("POST", f"{_ROOT}/networks/{{name}}/connect", self.connect),
            HttpRoute("POST", f"{_ROOT}/networks/{{name}}/disconnect", self.disconnect),
        ]

    async def list(self, _: Call) -> web.StreamResponse:
        return json(self._sandboxes.all())

    async def create(self, call: Call) -> web.StreamResponse:
        return json(await self._sandboxes.create(await call.body(SandboxRequest)), 201)

    async def check(self, call: Call) -> web.StreamResponse:
        """Validate a request for a sandbox, for runtimes that create containers before their networking."""
        self._sandboxes.check(await call.body(SandboxRequest))
        return empty()

    async def inspect(self, call: Call) -> web.StreamResponse:
        return json(self._sandboxes.view(self._sandboxes.find(call.params["id"])))

    async def remove(self, call: Call) -> web.StreamResponse:
        await self._sandboxes.delete(call.params["id"])
        return empty()

    async def rename(self, call: Call) -> web.StreamResponse:
        request = await call.body(RenameRequest)
        return json(await self._sandboxes.rename(call.params["id"], request.name))

    async def publish(self, call: Call) -> web.StreamResponse:
        request = await call.body(PortsRequest)
        return json(self._sandboxes.view(await self._ports.add(call.params["id"], request)))

    async def unpublish(self, call: Call) -> web.StreamResponse:
        request = await call.body(PortsRequest)
        return json(self._sandboxes.view(await self._ports.remove(call.params["id"], request)))

    async def connect(self, call: Call) -> web.StreamResponse:
        """Connect, as Docker's call does, and return the sandbox."""
        sandbox = await self._connections.connect(call.params["name"], await call.body(ConnectRequest))
        return json(self._sandboxes.view(sandbox))

    async def disconnect(self, call: Call) -> web.StreamResponse:
        sandbox = await self._connections.disconnect(call.params["name"], await call.body(DisconnectRequest))
        return json(self._sandboxes.view(sandbox))
