"""Client connections: limits, timeouts, and work that is cancelled when a connection ends.

A connection is closed if a request head is late or too large, or if the client does not read the response.  Bodies are
limited in :mod:`netd.common.http.web`.  aiohttp's compiled parser supports the upgrade to WebSocket only; its
Python parser also supports Docker's ``Upgrade: tcp``, so requests with that header are parsed by the latter.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParserPy
from aiohttp.web_protocol import RequestHandler

from netd.common import codec
from netd.common.http.admission import Admission, Bounds
from netd.common.http.hangups import Hangups

_UPGRADE = re.compile(rb"(?:POST|GET) .*? HTTP/1\.1\r\n(?:.*\r\n)*?upgrade: *tcp\r\n", re.IGNORECASE)
_CREDENTIALS = struct.Struct("3i")

_log = logging.getLogger(__name__)


class Handler(RequestHandler):
    """One connection until it ends or is hijacked."""

    __slots__ = (
        "_head",
        "_server",
        "_stalled",
        "_timer",
        "cancelled_on_disconnect",
        "client",
        "ended",
        "hangups",
        "refusal",
    )

    def __init__(self, server: Server, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._server = server
        self.hangups = server.hangups
        self.client = 0
        self.refusal = ""
        self.ended = False
        self.cancelled_on_disconnect: set[asyncio.Task[Any]] = set()
        self._head = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.client = _peer_pid(transport.get_extra_info("socket"))
        bounds, admission = self._server.bounds, self._server.admission
        self.refusal = admission.enter(self.client)
        self._expect(bounds.head_seconds if self.refusal else bounds.idle_seconds)
        if self.refusal and admission.is_flooded_by(self.client):
            self._refuse(503, self.refusal)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.admission.leave(self.client)
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        for task in tuple(self.cancelled_on_disconnect):
            task.cancel()

    def data_received(self, data: bytes) -> None:
        idle = self._current_request is None and not self._messages and not self._upgraded
        if idle and b"tcp" in data and _UPGRADE.match(data):
            self._parser = HttpRequestParserPy(self, self._loop, 2**16, auto_decompress=False)
        awaited = self._waiter is not None and not self._waiter.done()
        super().data_received(data)
        if awaited:
            self._note_head(len(data))

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's contract, which aiohttp narrows
        self.ended = True
        return self._upgraded or None

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self.cancelled_on_disconnect:
            self._stalled = self._loop.call_later(self._server.bounds.stalled_seconds, self._abort_stalled)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Log errors of the daemon; malformed requests and disconnects of clients are logged at debug level."""
        error = kwargs.get("exc_info")
        if isinstance(error, HttpProcessingError | web.RequestPayloadError) or self.transport is None:
            _log.debug("malformed request: client=%d error=%s", self.client, error)
        else:
            super().log_exception(*args, **kwargs)

    def _note_head(self, size: int) -> None:
        """Enforce the time and size limits of an incomplete request head."""
        if self._messages:
            self._head = 0
            self._expect(0)
            return
        if not self._head:
            self._expect(self._server.bounds.head_seconds)
        self._head += size
        if self._head > self._server.bounds.head_bytes:
            self._refuse(431, f"the head of a request is larger than {self._server.bounds.head_bytes} bytes")

    def _expect(self, seconds: float) -> None:
        """Close the connection after *seconds* unless this is called again before; 0 cancels the timeout."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._on_timeout) if seconds else None

    def _on_timeout(self) -> None:
        if not self._head:
            self.force_close()
            return
        self._refuse(408, "the request head was not complete in time; send it again")

    def _refuse(self, status: int, reason: str) -> None:
        if self.transport is None:
            return
        self._server.log_refusal(self.client, reason)
        body = _message(reason)
        head = f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.force_close()

    def _abort_stalled(self) -> None:
        _log.warning("client disconnected: client=%d error=response not read", self.client)
        if self.transport is not None:
            self.transport.abort()


class Server(web.Server):
    """aiohttp's low-level server, with limits on client connections."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], bounds: Bounds, **kwargs: Any
    ) -> None:
        # Docker does not decompress request bodies either.
        super().__init__(self._answer, auto_decompress=False, **kwargs)
        self._handler = handler
        self.bounds = bounds
        self.admission = Admission(bounds)
        self.hangups = Hangups()

    def __call__(self) -> RequestHandler:
        return Handler(self, loop=self._loop, **self._kwargs)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        handler = request.protocol
        if not (isinstance(handler, Handler) and handler.refusal):
            return await self._handler(request)
        self.log_refusal(handler.client, handler.refusal)
        response = web.Response(body=_message(handler.refusal), status=503, content_type="application/json")
        response.force_close()
        return response

    def log_refusal(self, client: int, reason: str) -> None:
        if self.admission.first_refusal(client):
            _log.warning("connection refused: client=%d error=%s", client, reason)

    async def shutdown(self, timeout: float | None = None) -> None:
        await super().shutdown(timeout)
        self.hangups.close()


@contextmanager
def cancel_on_disconnect(request: web.BaseRequest) -> Iterator[None]:
    """Cancel the current task as soon as the client closes its connection.

    There is no timeout for a client that reads the response slowly.
    """
    task, handler = asyncio.current_task(), request.protocol
    assert task is not None
    assert isinstance(handler, Handler)
    if handler.transport is None:
        raise ConnectionResetError("the client disconnected before the stream began")
    handler.cancelled_on_disconnect.add(task)
    try:
        yield
    finally:
        handler.cancelled_on_disconnect.discard(task)


def disconnect(request: web.BaseRequest, reason: str) -> None:
    """Abort a connection; unsent data is dropped."""
    _log.warning("client disconnected: path=%s error=%s", request.path, reason)
    if request.transport is not None:
        request.transport.abort()


def _message(reason: str) -> bytes:
    return codec.encode({"message": reason}) + b"\n"


def _peer_pid(sock: socket.socket) -> int:
    """Return the peer's pid (SO_PEERCRED); 0 if it is unknown."""
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return 0
    return int(_CREDENTIALS.unpack(found)[0])
