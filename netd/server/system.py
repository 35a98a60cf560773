"""``/version``, ``/events`` and ``/netd/v1/system`` (the status of netd)."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from aiohttp import web

from netd.api import SystemView
from netd.common import codec, descriptor_limit
from netd.common.daemon_status import DaemonStatus
from netd.common.errors import BadRequest
from netd.common.events import FILTERS, Bus, Event, Lagging, matches
from netd.common.http.client_connections import cancel_on_disconnect, disconnect
from netd.common.http.web import Call, HttpRoute, Product, json, stream, text
from netd.common.tasks import start_awaited

_CHECK_INTERVAL = 5.0
"""Seconds between two checks whether the client is still connected."""


class SystemRoutes:
    def __init__(
        self,
        product: Product,
        bus: Bus,
        daemon_status: DaemonStatus,
        closing: asyncio.Event,
        dropped: Callable[[], Awaitable[list[str]]] | None = None,
    ) -> None:
        """*closing* ends open-ended streams; *dropped* returns a sentence for each chain that drops traffic."""
        self._dropped = dropped
        self._daemon_status = daemon_status
        self._product = product
        self._bus = bus
        self._closing = closing

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("GET", "/version", self.version),
            HttpRoute("GET", "/events", self.events),
            HttpRoute("GET", "/netd/v1/system", self.system),
        ]

    async def system(self, _: Call) -> web.StreamResponse:
        used, limit = descriptor_limit.in_use()
        dropped = await self._dropped() if self._dropped else []
        view = SystemView(
            warnings=[*self._daemon_status.warnings(), *dropped],
            descriptors=used,
            descriptor_limit=limit,
            dropped=dropped,
        )
        return json(view)

    async def version(self, _: Call) -> web.StreamResponse:
        product, kernel = self._product, platform.release()
        api, oldest = text(product.api), text(product.api_minimum)
        arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        details = {"ApiVersion": api, "MinAPIVersion": oldest, "Os": "linux", "Arch": arch, "KernelVersion": kernel}
        return json(
            {
                "Platform": {"Name": product.name},
                "Components": [{"Name": product.name, "Version": product.version, "Details": details}],
                "Version": product.version,
                **details,
            }
        )

    async def events(self, call: Call) -> web.StreamResponse:
        """Stream events: first past events since the requested time, then new events."""
        filters = call.filters(FILTERS)
        since, until = _timestamp(call, "since"), _timestamp(call, "until")
        lagging = partial(disconnect, call.request, "it does not read the events")
        with (
            cancel_on_disconnect(call.request),
            self._bus.listen(lagging) as events,
            suppress(ConnectionError, Lagging),
        ):
            response = await stream(call, {"Content-Type": "application/json"})
            for published in self._bus.past(since, until or time.time()) if since is not None else ():
                if matches(published, filters):
                    await response.write(_line(published))
            async for published in self._until_disconnected(call, events, until):
                if matches(published, filters):
                    await response.write(_line(published))
        return response

    async def _until_disconnected(
        self, call: Call, events: AsyncIterator[Event], until: float | None
    ) -> AsyncIterator[Event]:
        """Yield events until *until*, the client's disconnection, or the end of netd."""
        next_event = start_awaited(anext(events))
        closing = start_awaited(self._closing.wait())
        try:
            while not _is_disconnected(call) and not closing.done():
                timeout = _CHECK_INTERVAL if until is None else min(_CHECK_INTERVAL, until - time.time())
                if timeout <= 0:
                    return
                await asyncio.wait((next_event, closing), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if next_event.done():
                    yield next_event.result()
                    next_event = start_awaited(anext(events))
        finally:
            for waiting in (next_event, closing):
                waiting.cancel()
            await asyncio.gather(next_event, closing, return_exceptions=True)


def _is_disconnected(call: Call) -> bool:
    transport = call.request.transport
    return transport is None or transport.is_closing()


def _line(published: Event) -> bytes:
    return codec.encode(published) + b"\n"


def _timestamp(call: Call, key: str) -> float | None:
    value = call.text(key)
    try:
        return float(value) if value else None
    except ValueError:
        raise BadRequest(f"{key} must be seconds since 1970, not {value!r}") from None
