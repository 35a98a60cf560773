"""One plugin, called: HTTP over its socket, activated once, each call with an end.

A plugin that was restarted is not activated again, as Docker's engine does not.
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
MEDIA = "application/vnd.docker.plugins.v1.2+json"
PATIENCE = 15.0
"""Seconds until a call must be answered."""
_HOST = "plugin.moby.localhost"
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts at a socket where nobody listens: the plugin may just be starting."""
_LARGEST = 1 << 20


class PluginRefused(ServerError):
    """The plugin answered that it will not, in its own words."""


class PluginUnreachable(ServerError):
    """The plugin cannot be reached, does not answer, or answers what nobody can read."""


class PluginNotFound(NotFound):
    """There is no plugin of that name, or not yet."""


class MethodNotImplemented(ServerError):
    """The plugin does not have this method."""


class PluginFailure(msgspec.Struct):
    """What every answer may hold: network calls say ``Err``, address calls ``Error``."""

    err: str | None = msgspec.field(default=None, name="Err")
    error: str | None = msgspec.field(default=None, name="Error")


class _Activated(msgspec.Struct):
    implements: list[str] | None = msgspec.field(default=None, name="Implements")


class Caller:
    def __init__(self, name: str, folders: Sequence[Path], patience: float = PATIENCE) -> None:
        self.name = name
        self._folders = folders
        self._place: PluginAddress | None = None
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None
        self._roles: frozenset[str] | None = None
        self._activating = asyncio.Lock()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def place(self) -> PluginAddress:
        """Looked up until it is found; after that it stays.  Raises Missing in Docker's words."""
        if self._place is None and (found := find(self.name, self._folders)) is not None:
            self._place = found
        if self._place is None:
            raise PluginNotFound(f'plugin "{self.name}" not found')
        return self._place

    async def roles(self, *, once: bool = False) -> frozenset[str]:
        """Return what the plugin implements; it is activated the first time."""
        async with self._activating:
            if self._roles is None:
                said = await self._call("Plugin.Activate", None, _Activated, once=once)
                self._roles = frozenset(said.implements or ())
        return self._roles

    async def call(self, method: str, body: object, kind: type[T], *, once: bool = False) -> T:
        """Return what the plugin answers to ``Interface.Method``; *once* tries a dead socket only once.

        Raises Refused with its words, Unknown for a method that it does not have, Silent when no answer can be had,
        Missing when there is no such plugin.
        """
        role = method.partition(".")[0]
        if role not in await self.roles(once=once):
            raise Forbidden(f"plugin {self.name} at {self.place} is no {role}: choose another driver")
        return await self._call(method, body, kind, once=once)

    async def _call(self, method: str, body: object, kind: type[T], *, once: bool) -> T:
        try:
            async with asyncio.timeout(self._patience):
                status, data = await self._exchange(method, body, once)
        except TimeoutError:
            raise self._silent(method, f"no answer in {self._patience:g} s") from None
        except (aiohttp.ClientError, OSError) as problem:
            raise self._silent(method, str(problem) or type(problem).__name__) from None
        if status != 200:
            raise self._failed(method, status, data)
        return self._read(method, data, kind)

    async def _exchange(self, method: str, body: object, once: bool) -> tuple[int, bytes]:
        for pause in () if once else _PAUSES:
            try:
                return await self._post(method, body)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(pause)
        return await self._post(method, body)

    async def _post(self, method: str, body: object) -> tuple[int, bytes]:
        data = b"" if body is None else msgspec.json.encode(body)
        headers = {"Accept": MEDIA, "Host": _HOST, "Content-Type": MEDIA}
        async with self._open().post(f"{self._base}/{method}", data=data, headers=headers) as answer:
            return answer.status, await answer.content.read(_LARGEST)

    @property
    def _base(self) -> str:
        return f"http://{self.place.tcp or _HOST}"

    def _open(self) -> aiohttp.ClientSession:
        """A new connection for each call: one that was kept may be a plugin's that has ended since."""
        if self._session is None:
            connector = (
                aiohttp.UnixConnector(self.place.socket, force_close=True, limit=0)
                if self.place.socket
                else aiohttp.TCPConnector(force_close=True, limit=0)
            )
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        return self._session

    def _read(self, method: str, data: bytes, kind: type[T]) -> T:
        try:
            failure = msgspec.json.decode(data or b"{}", type=PluginFailure)
            if words := failure.err or failure.error:
                raise PluginRefused(f"remote: {words}")
            return msgspec.json.decode(data or b"{}", type=kind)
        except (msgspec.DecodeError, RecursionError) as problem:
            raise self._silent(method, f"its answer cannot be read: {problem}") from None

    def _failed(self, method: str, status: int, data: bytes) -> ServerError:
        if status == 404:
            return MethodNotImplemented(f"plugin {self.name} at {self.place} does not implement {method}")
        try:
            failure = msgspec.json.decode(data, type=PluginFailure)
        except (msgspec.DecodeError, RecursionError):
            failure = PluginFailure()
        words = failure.err or failure.error or data.decode(errors="replace").strip()
        return PluginRefused(f"remote: {words[:1000] or f'status {status}'}")

    def _silent(self, method: str, reason: str) -> PluginUnreachable:
        return PluginUnreachable(
            f"plugin {self.name} at {self.place} failed {method}: {reason}; see whether it is running"
        )
