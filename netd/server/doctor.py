"""``/netd/v1/doctor``: what prevents traffic of containers."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from netd.common.http.web import Call, HttpRoute, json
from netd.engine import doctor
from netd.engine.context import EngineContext


class DoctorRoutes:
    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def routes(self) -> Sequence[HttpRoute]:
        return [HttpRoute("GET", "/netd/v1/doctor", self.examine)]

    async def examine(self, _: Call) -> web.StreamResponse:
        """Read the rules and send packets; takes up to half a second for each packet that does not arrive."""
        return json(await doctor.examine(self._context))
