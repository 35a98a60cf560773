"""``/networks``: the network part of Docker's Engine API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from netd.api import ConnectRequest, DisconnectRequest
from netd.common.errors import BadRequest, NotFound
from netd.common.http.deletion_stream import Deleted, respond
from netd.common.http.web import Call, HttpRoute, empty, json
from netd.engine.networks import network_filters
from netd.engine.networks.actions import Networks
from netd.engine.sandboxes.connections import Connections
from netd.engine.state.state import State
from netd.model import Network
from netd.server import shapes

_SINCE_IPV4_AND_PRIORITY = (1, 48)
"""The API version that introduced EnableIPv4 and GwPriority; both are ignored in requests of older versions."""
_SINCE_STATUS = (1, 52)
"""The API version that introduced ``Status``."""
_BOOLEANS = ("", "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False")


class NetworkRoutes:
    def __init__(self, state: State, networks: Networks, connections: Connections) -> None:
        self._state = state
        self._networks = networks
        self._connections = connections

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("GET", "/networks", self.list),
            HttpRoute("POST", "/networks/create", self.create),
            HttpRoute("POST", "/networks/prune", self.prune),
            HttpRoute("POST", "/networks/{name:path}/connect", self.connect),
            HttpRoute("POST", "/networks/{name:path}/disconnect", self.disconnect),
            HttpRoute("GET", "/networks/{name:path}", self.inspect),
            HttpRoute("DELETE", "/networks/{name:path}", self.remove),
        ]

    async def list(self, call: Call) -> web.StreamResponse:
        """List networks; with netd's parameter ``usage`` also their containers, as inspect shows them."""
        found = network_filters.listed(self._state, call.filters(network_filters.LIST_FILTERS))
        if call.flag("usage"):
            return json([shapes.inspected(self._state, network, with_status=False) for network in found])
        return json([shapes.listed(network) for network in found])

    async def inspect(self, call: Call) -> web.StreamResponse:
        _check_verbose(call.text("verbose"))
        network = self._find(call.params["name"])
        if call.text("scope") not in ("", "local"):
            raise NotFound(f"network {call.params['name']} not found")
        return json(shapes.inspected(self._state, network, with_status=call.version >= _SINCE_STATUS))

    def _find(self, term: str) -> Network:
        """Return the network; an ambiguous term raises the error text that Docker uses for inspect only."""
        try:
            return self._state.find_network(term)
        except BadRequest as problem:
            count = problem.message.partition("(")[2].partition(" ")[0]
            raise BadRequest(f"{count} matches found based on ID prefix: network {term} is ambiguous") from None

    async def create(self, call: Call) -> web.StreamResponse:
        request = await call.body(shapes.CreateJson)
        if call.version < _SINCE_IPV4_AND_PRIORITY:
            # These clients send false for an IPv6 setting that their user did not give.
            request = replace(request, enable_ipv4=None, enable_ipv6=request.enable_ipv6 or None)
        spec = shapes.spec(request)
        network = await self._networks.create(spec)
        return json({"Id": network.id, "Warning": await self._networks.warning(network, spec)}, 201)

    async def remove(self, call: Call) -> web.StreamResponse:
        await self._networks.remove(call.params["name"])
        return empty()

    async def connect(self, call: Call) -> web.StreamResponse:
        request = await call.body(ConnectRequest)
        if call.version < _SINCE_IPV4_AND_PRIORITY and request.endpoint_config is not None:
            request = replace(request, endpoint_config=replace(request.endpoint_config, gw_priority=0))
        await self._connections.connect(call.params["name"], request)
        return empty(200)

    async def disconnect(self, call: Call) -> web.StreamResponse:
        await self._connections.disconnect(call.params["name"], await call.body(DisconnectRequest))
        return empty(200)

    async def prune(self, call: Call) -> web.StreamResponse:
        filters = call.filters(network_filters.PRUNE_FILTERS)

        async def work(deleted: Deleted) -> dict[str, Any]:
            removed = await self._networks.prune(filters, deleted)
            return {"NetworksDeleted": removed or None}

        return await respond(call, work)


def _check_verbose(text: str) -> None:
    if text not in _BOOLEANS:
        raise BadRequest(f'invalid value for verbose: {text}: strconv.ParseBool: parsing "{text}": invalid syntax')
