"""The client's side: one connection to netd for all calls, opened at the first call and again after it was lost.

A netd that does not know these messages refuses the upgrade; then the caller uses HTTP.  Must not interpret bodies.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from netd.calls.call_messages import HEADER, PATH, VERSION, CallReply, CallRequest, Splitter, pack

_CONNECT_SECONDS = 5.0
_REFUSED_SECONDS = 30.0
"""Seconds until the upgrade is requested again from a netd that refused it: it may have been replaced."""
_MAX_HEAD = 1 << 16
_REQUEST = f"GET {PATH} HTTP/1.1\r\nHost: netd\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n{HEADER}: {VERSION}\r\n\r\n"


class CallsLost(OSError):
    """The connection ended before the reply."""


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[bool] = loop.create_future()
        """Whether netd has accepted the upgrade."""
        self.closed = False
        self._head = b""
        self._splitter = Splitter(CallReply)
        self._waiting: dict[int, asyncio.Future[CallReply]] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_REQUEST.encode())

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            data = self._read_head(data)
        try:
            for reply in self._splitter.feed(data) if data else ():
                waiting = self._waiting.pop(reply.number, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(reply)
        except (msgspec.DecodeError, ValueError):
            self.close()

    def _read_head(self, data: bytes) -> bytes:
        """Read the response to the upgrade; return what follows it."""
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > _MAX_HEAD:
                self.close()
            return b""
        accepted = head.startswith(b"HTTP/1.1 101 ") and f"\r\n{HEADER}: {VERSION}".encode() in head
        self.opened.set_result(accepted)
        if not accepted:
            self.close()
            return b""
        return rest

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        lost = CallsLost("the connection to netd was lost")
        if not self.opened.done():
            self.opened.set_exception(lost)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(lost)
        self._waiting.clear()

    async def call(self, request: CallRequest) -> CallReply:
        waiting: asyncio.Future[CallReply] = asyncio.get_running_loop().create_future()
        self._waiting[request.number] = waiting
        try:
            if self.closed or self._transport is None:
                raise CallsLost("the connection to netd was lost")
            self._transport.write(pack(request))
            return await waiting
        finally:
            self._waiting.pop(request.number, None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class CallConnection:
    """Calls of netd at *socket*."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._connection: _Connection | None = None
        self._opening = asyncio.Lock()
        self._number = 0
        self._refused_until = 0.0

    async def call(
        self,
        request_id: str,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        content_type: str = "",
        body: bytes = b"",
    ) -> CallReply | None:
        """Return netd's reply; None if netd does not know these messages and nothing was sent.

        Raises OSError if netd cannot be reached or ends before the reply, TimeoutError if it does not answer the
        upgrade.
        """
        connection = self._connection
        if connection is None or connection.closed:
            async with self._opening:
                connection = await self._open()
        if connection is None:
            return None
        self._number += 1
        return await connection.call(
            CallRequest(self._number, request_id, method, path, list(query), content_type, body)
        )

    async def _open(self) -> _Connection | None:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        self._connection = None
        if time.monotonic() < self._refused_until:
            return None
        async with asyncio.timeout(_CONNECT_SECONDS):
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_unix_connection(_Connection, str(self._socket))
            try:
                accepted = await connection.opened
            except BaseException:
                connection.close()
                raise
        if not accepted:
            self._refused_until = time.monotonic() + _REFUSED_SECONDS
            return None
        self._connection = connection
        return connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
