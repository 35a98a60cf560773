"""``/netd/v1/topology``: networks, containers, ports and ways out in one piece, and a stream of its changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web

from netd.common import codec
from netd.common.events import Bus, Lagging
from netd.common.http.client_connections import cancel_on_disconnect
from netd.common.http.web import Call, HttpRoute, json, stream
from netd.common.tasks import start_awaited
from netd.engine.topology import TopologySource
from netd.topology.values import TopologyView

PATH, STREAM_PATH = "/netd/v1/topology", "/netd/v1/topology/stream"
_INTERVAL = 2.0
"""Seconds between two messages with traffic."""
_TRAFFIC_AGE = 0.5
"""Seconds for which counters that were read for a stream are used for the others."""
_SETTLE = 0.2
"""Seconds from an event to the message about it: changes usually come in groups."""
_WRITE_SECONDS = 30.0
"""How long a client may read nothing before it is disconnected."""
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class TopologyRoutes:
    def __init__(self, source: TopologySource, bus: Bus, closing: asyncio.Event) -> None:
        """*closing* ends streams."""
        self._source = source
        self._bus = bus
        self._closing = closing
        self._encoded: tuple[TopologyView, bytes] | None = None

    def routes(self) -> Sequence[HttpRoute]:
        return [HttpRoute("GET", PATH, self.topology), HttpRoute("GET", STREAM_PATH, self.stream)]

    async def topology(self, _: Call) -> web.StreamResponse:
        return json(await self._source.complete())

    async def stream(self, call: Call) -> web.StreamResponse:
        """Send server-sent events (HTML Standard, 9.2): ``topology`` after changes, ``traffic`` every two seconds.

        A message has the newest values, so a slow client misses none that still holds.
        """
        with cancel_on_disconnect(call.request), self._bus.listen() as events, suppress(ConnectionError, Lagging):
            response = await stream(call, _HEADERS)
            with suppress(TimeoutError):
                await self._write(response, b"retry: 2000\n\n")
                event, closing = start_awaited(anext(events)), start_awaited(self._closing.wait())
                try:
                    sent: TopologyView | None = None
                    known: dict[str, list[int]] = {}
                    while not closing.done():
                        sent = await self._send_topology(response, sent)
                        known = await self._send_traffic(response, known)
                        await asyncio.wait((event, closing), timeout=_INTERVAL, return_when=asyncio.FIRST_COMPLETED)
                        if event.done():
                            await asyncio.wait((closing,), timeout=_SETTLE)
                        while event.done():
                            event.result()
                            event = start_awaited(anext(events))
                            await asyncio.sleep(0)
                finally:
                    for waiting in (event, closing):
                        waiting.cancel()
                    await asyncio.gather(event, closing, return_exceptions=True)
        return response

    async def _send_topology(self, response: web.StreamResponse, sent: TopologyView | None) -> TopologyView:
        found = await self._source.current()
        if found is not sent:
            await self._write(response, b"event: topology\ndata: " + self._encode(found) + b"\n\n")
        return found

    async def _send_traffic(self, response: web.StreamResponse, known: dict[str, list[int]]) -> dict[str, list[int]]:
        """Send the counters that have changed, with the time at which they were read."""
        found = await self._source.traffic(_TRAFFIC_AGE)
        changed = {key: numbers for key, numbers in found.items() if known.get(key) != numbers}
        message = codec.encode({"Time": time.time(), "Traffic": changed})
        await self._write(response, b"event: traffic\ndata: " + message + b"\n\n")
        return found

    def _encode(self, found: TopologyView) -> bytes:
        if self._encoded is None or self._encoded[0] is not found:
            self._encoded = found, codec.encode(found)
        return self._encoded[1]

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(_WRITE_SECONDS):
            await response.write(data)
