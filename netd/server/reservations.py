"""``/netd/v1/reservations``: addresses reserved for containers, for runtimes."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from netd.api import ReservationRequest
from netd.common.http.web import Call, HttpRoute, empty, json
from netd.engine.networks.reservations import Reservations

_ROOT = "/netd/v1/reservations"


class ReservationRoutes:
    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("GET", _ROOT, self.list),
            HttpRoute("PUT", f"{_ROOT}/{{id}}", self.put),
            HttpRoute("DELETE", f"{_ROOT}/{{id}}", self.delete),
        ]

    async def list(self, _: Call) -> web.StreamResponse:
        return json(self._reservations.all())

    async def put(self, call: Call) -> web.StreamResponse:
        return json(await self._reservations.put(call.params["id"], await call.body(ReservationRequest)))

    async def delete(self, call: Call) -> web.StreamResponse:
        await self._reservations.delete(call.params["id"])
        return empty()
