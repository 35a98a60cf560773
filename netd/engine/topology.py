"""The topology of this moment, computed again only after something has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from msgspec.structs import replace

from netd.engine.context import EngineContext
from netd.engine.views import network_metrics
from netd.engine.views import topology as views
from netd.topology.values import TopologyView


class TopologySource:
    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._links: Mapping[str, str] = {}
        self._found: TopologyView | None = None
        self._computed_from: object = None
        self._traffic: dict[str, list[int]] = {}
        self._traffic_time = 0.0
        self._lock = asyncio.Lock()

    async def current(self) -> TopologyView:
        """Return the topology without traffic: the same object as before if nothing has changed."""
        context = self._context
        uplinks = await context.host.uplinks()
        over_budget = frozenset(context.state.over_budget)
        inputs = context.state.revision, over_budget, uplinks
        if self._found is None or inputs != self._computed_from:
            endpoints = network_metrics.endpoint_links(context.state, context.drivers)
            self._links = {endpoint.id: link for _, endpoint, link in endpoints}
            self._found = views.topology(
                context.state, context.drivers, context.host.hostname(), uplinks, self._links, over_budget
            )
            self._computed_from = inputs
        return self._found

    async def traffic(self, age: float = 0.0) -> dict[str, list[int]]:
        """Return the counters of the endpoints of the last topology, by endpoint id, at most *age* seconds old."""
        async with self._lock:
            if time.monotonic() - self._traffic_time > age:
                self._traffic = views.traffic(self._links, await self._context.host.link_counters())
                self._traffic_time = time.monotonic()
        return self._traffic

    async def complete(self) -> TopologyView:
        """Return the topology with traffic."""
        found = await self.current()
        return replace(found, traffic=await self.traffic(), time=time.time())
