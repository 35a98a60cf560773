"""``GET /metrics`` of a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from netd.common.http.web import Call, HttpRoute
from netd.metrics.metric_families import CONTENT_TYPE, MetricFamily, text

Collect = Callable[[], Awaitable[Iterable[MetricFamily]]]


class MetricsRoutes:
    def __init__(self, collect: Collect) -> None:
        self._collect = collect
        self._lock = asyncio.Lock()

    def routes(self) -> list[HttpRoute]:
        return [HttpRoute("GET", "/metrics", self.metrics)]

    async def metrics(self, _: Call) -> web.StreamResponse:
        """Return all metrics; scrapes at the same time wait for one another."""
        async with self._lock:
            families = list(await self._collect())
        return web.Response(body=text(families), headers={"Content-Type": CONTENT_TYPE})
