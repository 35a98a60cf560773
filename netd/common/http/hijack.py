"""Connections that stop being HTTP: Docker's attach and exec streams.

After the answer's head both directions are raw bytes, and each may be closed on its own.  aiohttp closes a
connection whose client has shut its sending side, which Docker's clients do at once when they have no input;
:mod:`netd.common.http.client_connections` keeps it open once an upgrade was asked for.
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


class _Raw(asyncio.StreamReaderProtocol):
    """Feeds the stream and tells the HTTP handler, which still owns the connection, when it is lost."""

    def __init__(self, reader: asyncio.StreamReader, before: Handler, descriptor: int) -> None:
        super().__init__(reader)
        self._before = before
        self._descriptor = descriptor
        self.gone = before.hangups.watch(descriptor)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        self._before.hangups.forget(self._descriptor)
        super().connection_lost(exc)
        self._before.connection_lost(exc)


class Hijacked(web.StreamResponse):
    """Stands for the answer that was already sent raw; the connection ends with the handler that returns it.

    ``gone`` is done as soon as the client has closed the connection.
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
        """End our side, and read what the client still sends.

        A socket that is closed with unread bytes in it resets the connection: the client would get an error, and not
        the end of what it was sent.
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
    """Answer 101 (or 200 to a client that did not ask to upgrade) and take the connection over.

    The reader ends when the client shuts its sending side; writing goes on until the writer is closed.
    The handler returns the result when it is done, and the connection is closed then.
    """
    request = call.request
    transport, handler = request.transport, request.protocol
    if transport is None or not isinstance(handler, Handler):
        raise ConnectionResetError("the client left before the stream began")
    reader = asyncio.StreamReader()
    protocol = _Raw(reader, handler, transport.get_extra_info("socket").fileno())
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
    taken = request[HIJACKED] = Hijacked(reader, writer, protocol.gone)
    return taken


def _head(call: Call, content_type: str, headers: dict[str, str]) -> bytes:
    upgrade = call.request.headers.get("Upgrade", "").lower() == "tcp"
    first = "HTTP/1.1 101 UPGRADED" if upgrade else "HTTP/1.1 200 OK"
    lines = [first, f"Content-Type: {content_type}"]
    lines += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else []
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
