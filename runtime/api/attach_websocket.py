"""Route ``attach/ws``: the streams of a container over a WebSocket.

Each message holds raw bytes of the output, of both streams, or of the input.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web
from aiohttp.http_websocket import WSMsgType

from netd.common.errors import BadRequest, Conflict
from netd.common.http.web import Call, HttpRoute
from netd.common.tasks import start_awaited
from runtime import log_reader
from runtime.api import attach_session
from runtime.api.container_streams import selected_streams
from runtime.api.long_requests import LongRequests
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.options import detach_keys
from runtime.engine.options.detach_keys import DetachKeyDetector
from runtime.paths import Paths
from runtime.shim_client.supervisor import Attachment
from runtime.spec import StreamLost

_LARGEST_MESSAGE = 1 << 20
_WAITING_MESSAGES = 16
_CLOSE_SECONDS = 2.0
_LAST_INPUT_SECONDS = 2.0

_Messages = asyncio.Queue[bytes | None]


class AttachWebSocketRoutes:
    def __init__(self, containers: Containers, paths: Paths, long_requests: LongRequests) -> None:
        self._containers = containers
        self._paths = paths
        self._long_requests = long_requests

    def routes(self) -> Sequence[HttpRoute]:
        return [HttpRoute("GET", "/containers/{name:path}/attach/ws", self.attach)]

    async def attach(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        if container.record.state.status == "paused":
            raise Conflict(f"Container {container.record.name} is paused. Unpause the container before attach")
        container.check_not_restarting()
        keys = detach_keys.parse(call.text("detachKeys"))
        socket = web.WebSocketResponse(timeout=_CLOSE_SECONDS, max_msg_size=_LARGEST_MESSAGE, compress=False)
        if not socket.can_prepare(call.request):
            raise BadRequest("attach/ws needs a WebSocket: send the headers Upgrade, Connection and Sec-WebSocket-Key")
        await socket.prepare(call.request)
        self._containers.publish_event(container, "attach")
        with self._long_requests.session(call), suppress(ConnectionError):
            if call.flag("logs"):
                await self._replay(container, socket, selected_streams(call))
            if call.flag("stream"):
                await self._serve(container, call, socket, DetachKeyDetector(keys))
            await socket.close()
        return socket

    async def _replay(self, container: Container, socket: web.WebSocketResponse, selected: frozenset[int]) -> None:
        path = self._paths.container(container.id).log
        async for lines in log_reader.read(path, log_reader.LogFilter(streams=selected)):
            for line in lines:
                await socket.send_bytes(line.text)

    async def _serve(
        self, container: Container, call: Call, socket: web.WebSocketResponse, detector: DetachKeyDetector
    ) -> None:
        config = container.record.config
        stdin = call.flag("stdin") and config.open_stdin
        messages: _Messages | None = asyncio.Queue(_WAITING_MESSAGES) if stdin else None
        receiving = start_awaited(_receive(socket, messages, detector if config.tty else None))
        try:
            streams = await attach_session.join(container, selected_streams(call), stdin, receiving)
            if streams is not None:
                await _exchange(socket, streams, messages, receiving)
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)


async def _exchange(
    socket: web.WebSocketResponse,
    streams: Attachment,
    messages: _Messages | None,
    receiving: asyncio.Future[None],
) -> None:
    """Send output and write input until the output ends, or the client has closed the socket or detached."""
    sending = start_awaited(_send(socket, streams))
    writing = start_awaited(_write(streams, messages)) if messages is not None else None
    try:
        await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
        if writing and not sending.done():
            # Input that the client sent before it left is still delivered.
            await asyncio.wait((writing,), timeout=_LAST_INPUT_SECONDS)
    finally:
        tasks = [task for task in (sending, writing) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await streams.close()


async def _send(socket: web.WebSocketResponse, streams: Attachment) -> None:
    with suppress(ConnectionError):
        try:
            async for _, data in streams:
                await socket.send_bytes(data)
        except StreamLost as lost:
            await socket.send_bytes(f"\r\n{lost}\r\n".encode())


async def _write(streams: Attachment, messages: _Messages) -> None:
    with suppress(ConnectionError, BrokenPipeError):
        while (data := await messages.get()) is not None:
            await streams.write(data)


async def _receive(
    socket: web.WebSocketResponse, messages: _Messages | None, detector: DetachKeyDetector | None
) -> None:
    """Queue the input, and None at its end; return when the client closes the socket or detaches.

    Without *messages*, input is discarded.
    """
    async for message in socket:
        if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
            break
        data = message.data if isinstance(message.data, bytes) else message.data.encode()
        passed, detached = detector.feed(data) if detector else (data, False)
        if passed and messages is not None:
            await messages.put(passed)
        if detached:
            break
    if messages is not None:
        await messages.put(None)
