"""Calls to one plugin: HTTP over its socket, one activation, a timeout per call.

A plugin that was restarted is not activated again, as in Docker's engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec

from netd.common.errors import Forbidden, NotFound, ServerError
from netd.remote.plugin_discovery import PluginAddress, find

T = TypeVar("T")
CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
CALL_TIMEOUT = 15.0
"""Seconds per call."""
_HOST = "plugin.moby.localhost"
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts to connect to a socket without a listener: the plugin may be starting."""
_MAX_RESPONSE = 1 << 20
"""Bytes."""


class PluginFailed(ServerError):
    """The plugin returned an error; the message is the plugin's."""


class PluginUnreachable(ServerError):
    """The plugin cannot be reached, does not respond in time, or its response cannot be decoded."""


class PluginNotFound(NotFound):
    """No plugin of that name is installed."""


class MethodNotImplemented(ServerError):
    """The plugin does not implement the method."""


class PluginError(msgspec.Struct):
    """The error fields of every response: ``Err`` of network drivers, ``Error`` of IPAM drivers."""

    err: str | None = msgspec.field(default=None, name="Err")
    error: str | None = msgspec.field(default=None, name="Error")


class _Activation(msgspec.Struct):
    """The response to Plugin.Activate."""

    implements: list[str] | None = msgspec.field(default=None, name="Implements")


class Caller:
    """The HTTP client of one plugin."""

    def __init__(self, name: str, folders: Sequence[Path], timeout: float = CALL_TIMEOUT) -> None:
        self.name = name
        self._folders = folders
        self._address: PluginAddress | None = None
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._roles: frozenset[str] | None = None
        self._activating = asyncio.Lock()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def address(self) -> PluginAddress:
        """The plugin's address, cached once it is found.  Raises PluginNotFound with Docker's message."""
        if self._address is None and (found := find(self.name, self._folders)) is not None:
            self._address = found
        if self._address is None:
            raise PluginNotFound(f'plugin "{self.name}" not found')
        return self._address

    async def roles(self, *, once: bool = False) -> frozenset[str]:
        """Return the interfaces that the plugin implements; the first call activates it."""
        async with self._activating:
            if self._roles is None:
                response = await self._call("Plugin.Activate", None, _Activation, once=once)
                self._roles = frozenset(response.implements or ())
        return self._roles

    async def call(self, method: str, body: object, kind: type[T], *, once: bool = False) -> T:
        """Return the plugin's response to ``Interface.Method``; *once*: do not retry the connection.

        Raises PluginFailed with the plugin's error, MethodNotImplemented, PluginUnreachable or PluginNotFound.
        """
        role = method.partition(".")[0]
        if role not in await self.roles(once=once):
            raise Forbidden(f"plugin {self.name} at {self.address} is not a {role}: choose another driver")
        return await self._call(method, body, kind, once=once)

    async def _call(self, method: str, body: object, kind: type[T], *, once: bool) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                status, data = await self._exchange(method, body, once)
        except TimeoutError:
            raise self._unreachable(method, f"no response in {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as problem:
            raise self._unreachable(method, str(problem) or type(problem).__name__) from None
        if status != 200:
            raise self._error_of(method, status, data)
        return self._decode(method, data, kind)

    async def _exchange(self, method: str, body: object, once: bool) -> tuple[int, bytes]:
        for pause in () if once else _PAUSES:
            try:
                return await self._post(method, body)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(pause)
        return await self._post(method, body)

    async def _post(self, method: str, body: object) -> tuple[int, bytes]:
        data = b"" if body is None else msgspec.json.encode(body)
        headers = {"Accept": CONTENT_TYPE, "Host": _HOST, "Content-Type": CONTENT_TYPE}
        async with self._get_session().post(f"{self._base}/{method}", data=data, headers=headers) as response:
            return response.status, await _read(response.content)

    @property
    def _base(self) -> str:
        return f"http://{self.address.tcp or _HOST}"

    def _get_session(self) -> aiohttp.ClientSession:
        """Return the session, with a new connection per call: a persistent one may lead to an exited plugin."""
        if self._session is None:
            connector = (
                aiohttp.UnixConnector(self.address.socket, force_close=True, limit=0)
                if self.address.socket
                else aiohttp.TCPConnector(force_close=True, limit=0)
            )
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        return self._session

    def _decode(self, method: str, data: bytes, kind: type[T]) -> T:
        try:
            failure = msgspec.json.decode(data or b"{}", type=PluginError)
            if message := failure.err or failure.error:
                raise PluginFailed(f"remote: {message}")
            return msgspec.json.decode(data or b"{}", type=kind)
        except (msgspec.DecodeError, RecursionError) as problem:
            raise self._unreachable(method, f"its response cannot be decoded: {problem}") from None

    def _error_of(self, method: str, status: int, data: bytes) -> ServerError:
        if status == 404:
            return MethodNotImplemented(f"plugin {self.name} at {self.address} does not implement {method}")
        try:
            failure = msgspec.json.decode(data, type=PluginError)
        except (msgspec.DecodeError, RecursionError):
            failure = PluginError()
        message = failure.err or failure.error or data.decode(errors="replace").strip()
        return PluginFailed(f"remote: {message[:1000] or f'status {status}'}")

    def _unreachable(self, method: str, reason: str) -> PluginUnreachable:
        return PluginUnreachable(
            f"plugin {self.name} at {self.address} failed {method}: {reason}; check that it is running"
        )


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Return the body of a response, in however many pieces it arrives; at most _MAX_RESPONSE bytes are kept."""
    body = bytearray()
    async for piece in content.iter_any():
        body += piece
        if len(body) > _MAX_RESPONSE:
            break
    return bytes(body[:_MAX_RESPONSE])
