"""Hijacked connections: Docker's attach and exec streams.

After the response head both directions carry raw bytes, and each may be closed separately.  aiohttp closes a
connection whose client has shut down its sending side, which Docker's clients do at once if they have no input;
:mod:`netd.common.http.client_connections` keeps the connection open after a request for an upgrade.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from netd.common.http.client_connections import Handler
from netd.common.http.web import HIJACKED, Call

_DISCARD_SECONDS = 5.0
_DISCARD_BYTES = 64 << 20
_CHUNK = 1 << 16


class _RawStreamProtocol(asyncio.StreamReaderProtocol):
    """Feeds the stream, and forwards ``connection_lost`` to the HTTP handler, which still owns the connection."""

    def __init__(self, reader: asyncio.StreamReader, http_handler: Handler, descriptor: int) -> None:
        super().__init__(reader)
        self._http_handler = http_handler
        self._descriptor = descriptor
        self.gone = http_handler.hangups.watch(descriptor)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        self._http_handler.hangups.forget(self._descriptor)
        super().connection_lost(exc)
        self._http_handler.connection_lost(exc)


class Hijacked(web.StreamResponse):
    """The response object for a head that was sent already; returning it from the handler closes the connection.

    ``gone`` is done as soon as the client closes the connection.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gone: asyncio.Future[None]) -> None:
        super().__init__()
        self.reader, self.writer = reader, writer
        self.gone = gone

    @property
    def prepared(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Shut down the sending side, and discard what the client still sends, up to 64 MiB and 5 seconds.

        Closing a socket with unread bytes resets the connection, and the client would get an error instead of the end
        of the stream.
        """
        with suppress(ConnectionError, TimeoutError):
            self.writer.transport.set_write_buffer_limits(0)
            await self.writer.drain()
            self.writer.write_eof()
            async with asyncio.timeout(_DISCARD_SECONDS):
                await self._discard(_DISCARD_BYTES)

    async def _discard(self, left: int) -> None:
        while left > 0 and (data := await self.reader.read(_CHUNK)):
            left -= len(data)


async def hijack(call: Call, content_type: str, headers: dict[str, str]) -> Hijacked:
    """Answer 101 (200 if the client requested no upgrade) and take over the connection.

    The reader ends when the client shuts down its sending side; writing is possible until the writer is closed.  The
    route's handler returns the result, and the connection is then closed.
    """
    request = call.request
    transport, handler = request.transport, request.protocol
    if transport is None or not isinstance(handler, Handler):
        raise ConnectionResetError("the client disconnected before the stream began")
    reader = asyncio.StreamReader()
    protocol = _RawStreamProtocol(reader, handler, transport.get_extra_info("socket").fileno())
    tail, handler._message_tail = handler._message_tail, b""
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
    if tail:
        reader.feed_data(tail)
    if handler.ended:
        reader.feed_eof()
    transport.resume_reading()
    writer.write(_head(call, content_type, headers))
    handler.keep_alive(False)
    hijacked = request[HIJACKED] = Hijacked(reader, writer, protocol.gone)
    return hijacked


def _head(call: Call, content_type: str, headers: dict[str, str]) -> bytes:
    upgrade = call.request.headers.get("Upgrade", "").lower() == "tcp"
    first = "HTTP/1.1 101 UPGRADED" if upgrade else "HTTP/1.1 200 OK"
    lines = [first, f"Content-Type: {content_type}"]
    lines += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else []
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
