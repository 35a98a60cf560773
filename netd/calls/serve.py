"""The server's side: answers the messages of a runtime's connection by the routes of the HTTP front.

Requests run concurrently.  Streams and uploads need an HTTP connection of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
from aiohttp import web

from netd.calls.call_messages import HEADER, PATH, VERSION, CallReply, CallRequest, MessageTooLarge, Splitter, pack
from netd.common.errors import BadRequest
from netd.common.http.hijack import Hijacked, hijack
from netd.common.http.web import Call, Front, HttpRoute, MessageRequest
from netd.common.tasks import Tasks, start_awaited

_MOST_RUNNING = 512
"""Requests that one connection may have running; further ones wait in its socket."""
_MOST_UNREAD = 128 << 20
"""Bytes of replies that the client has not read, from which on it is disconnected."""
_CHUNK = 1 << 16
_log = logging.getLogger(__name__)


class CallRoutes:
    """*front* returns the front whose routes are called; *closing* ends the connections."""

    def __init__(self, front: Callable[[], Front], tasks: Tasks, closing: asyncio.Event) -> None:
        self._front = front
        self._tasks = tasks
        self._closing = closing

    def routes(self) -> list[HttpRoute]:
        return [HttpRoute("GET", PATH, self.serve)]

    async def serve(self, call: Call) -> web.StreamResponse:
        """Answer messages until the client closes the connection or the daemon stops."""
        version = call.request.headers.get(HEADER, "")
        if version != VERSION or call.request.headers.get("Upgrade", "").lower() != "tcp":
            raise BadRequest(f"{PATH} is called with Upgrade: tcp and {HEADER}: {VERSION}, not version {version!r}")
        hijacked = await hijack(call, "application/vnd.msgpack", {HEADER: VERSION})
        served = _Served(self._front(), hijacked, self._tasks)
        closing = start_awaited(self._closing.wait())
        reading = start_awaited(served.read())
        try:
            await asyncio.wait((closing, reading), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (closing, reading):
                waiting.cancel()
            await asyncio.gather(closing, reading, return_exceptions=True)
            await served.finish()
        return hijacked


class _Served:
    """One connection."""

    def __init__(self, front: Front, hijacked: Hijacked, tasks: Tasks) -> None:
        self._front = front
        self._hijacked = hijacked
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()

    async def read(self) -> None:
        """Start a task for each request, until the client closes the connection or sends something else."""
        splitter = Splitter(CallRequest)
        try:
            while data := await self._hijacked.reader.read(_CHUNK):
                for request in splitter.feed(data):
                    task = self._tasks.start(self._answer(request), "call")
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
                if len(self._running) >= _MOST_RUNNING:
                    await asyncio.wait(set(self._running), return_when=asyncio.FIRST_COMPLETED)
        except (msgspec.DecodeError, MessageTooLarge) as error:
            _log.warning("call connection closed: error=%s", error)
        except ConnectionError:
            return

    async def finish(self) -> None:
        """Wait for the replies to the requests that were received."""
        if self._running:
            await asyncio.wait(set(self._running))

    async def _answer(self, request: CallRequest) -> None:
        response = await self._front.answer_message(
            MessageRequest(
                request.method, request.path, request.query, request.content_type, request.body, request.request_id
            )
        )
        body = response.body if isinstance(response.body, bytes) else b""
        reply = CallReply(request.number, response.status, response.content_type, body)
        try:
            data = pack(reply)
        except MessageTooLarge as error:
            data = pack(CallReply(request.number, 500, "application/json", b'{"message":"%s"}' % str(error).encode()))
        writer = self._hijacked.writer
        writer.write(data)
        if writer.transport.get_write_buffer_size() > _MOST_UNREAD:
            _log.warning("call connection closed: error=replies are not read")
            writer.transport.abort()
