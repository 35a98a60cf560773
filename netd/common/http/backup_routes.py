"""``GET /netd/v1/backup``: a consistent copy of a daemon's store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from netd.common.http.web import Call, HttpRoute


class BackupRoutes:
    def __init__(self, snapshot: Callable[[], Awaitable[bytes]]) -> None:
        self._snapshot = snapshot

    def routes(self) -> list[HttpRoute]:
        return [HttpRoute("GET", "/netd/v1/backup", self.backup)]

    async def backup(self, _: Call) -> web.StreamResponse:
        """Return the store as an SQLite file."""
        return web.Response(body=await self._snapshot(), content_type="application/vnd.sqlite3")
