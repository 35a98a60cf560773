"""The asynchronous client of netd, for runtimes: the sandbox calls typed, the network calls of Docker's API handed on.

Refusals come back as the Problem that netd raised; a netd that does not answer is Unavailable, in one sentence
that says how to start it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp

from netd.api import ConnectRequest, DisconnectRequest, RenameRequest, SandboxRequest, SandboxView
from netd.common import codec, errors
from netd.common.errors import NotFound, Problem, Unavailable
from netd.common.events import Event

T = TypeVar("T")

_PATIENCE = aiohttp.ClientTimeout(total=120, sock_connect=5)
_ENDLESS = aiohttp.ClientTimeout(total=None, sock_connect=5)
_BY_STATUS: Mapping[int, type[Problem]] = {
    kind.status: kind
    for kind in (
        errors.BadRequest,
        errors.Forbidden,
        errors.NotFound,
        errors.Conflict,
        errors.ServerError,
        errors.NotImplementedYet,
        errors.Unavailable,
        errors.NoSpace,
    )
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What netd said, unread."""

    status: int
    body: bytes


class NetdClient:
    """Calls on one netd over kept-alive connections.  Made inside a running loop; close it before the loop ends."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._session = aiohttp.ClientSession(
            "http://netd", connector=aiohttp.UnixConnector(str(socket), limit=0), timeout=_PATIENCE
        )

    async def __aenter__(self) -> NetdClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    # Sandboxes

    async def create_sandbox(self, request: SandboxRequest) -> SandboxView:
        """Bring up all the networking of one container, or raise and leave nothing."""
        return codec.decode(await self._call("POST", "/netd/v1/sandboxes", request), SandboxView)

    async def sandbox(self, identifier: str) -> SandboxView:
        return codec.decode(await self._call("GET", f"/netd/v1/sandboxes/{_quoted(identifier)}"), SandboxView)

    async def sandboxes(self) -> list[SandboxView]:
        return codec.decode(await self._call("GET", "/netd/v1/sandboxes"), list[SandboxView])

    async def delete_sandbox(self, identifier: str) -> None:
        """Take a sandbox down; one that is not there is no error."""
        try:
            await self._call("DELETE", f"/netd/v1/sandboxes/{_quoted(identifier)}")
        except NotFound:
            return

    async def rename_sandbox(self, identifier: str, name: str) -> None:
        await self._call("POST", f"/netd/v1/sandboxes/{_quoted(identifier)}/rename", RenameRequest(name))

    async def connect(self, network: str, request: ConnectRequest) -> SandboxView:
        """Attach a running sandbox to a network and return how it is now."""
        await self._call("POST", f"/networks/{_quoted(network)}/connect", request)
        return await self.sandbox(request.container)

    async def disconnect(self, network: str, request: DisconnectRequest) -> SandboxView:
        """Detach a running sandbox from a network and return how it is now."""
        await self._call("POST", f"/networks/{_quoted(network)}/disconnect", request)
        return await self.sandbox(request.container)

    # The rest of netd's API

    async def forward(self, method: str, path: str, query: Mapping[str, str], body: bytes = b"") -> Answer:
        """Hand a call on and return what netd says, refusals included."""
        return await self._ask(method, path, body, query)

    async def events(self) -> AsyncIterator[Event]:
        """Yield netd's events until it stops or the connection breaks.  Raises Unavailable when there is none."""
        try:
            async with self._session.get("/events", timeout=_ENDLESS) as response:
                async for line in response.content:
                    yield codec.decode(line, Event)
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable() from error

    async def _call(self, method: str, path: str, value: Any = None) -> bytes:
        answer = await self._ask(method, path, b"" if value is None else codec.encode(value), {})
        if answer.status >= 400:
            raise _problem(answer)
        return answer.body

    async def _ask(self, method: str, path: str, body: bytes, query: Mapping[str, str]) -> Answer:
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            async with self._session.request(
                method, path, data=body or None, params=query, headers=headers
            ) as response:
                return Answer(response.status, await response.read())
        except TimeoutError as error:
            raise Unavailable(f"netd at {self.socket} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable() from error

    def _unreachable(self) -> Unavailable:
        return Unavailable(f"netd does not answer at {self.socket}: start it with netd --run-dir {self.socket.parent}")


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _problem(answer: Answer) -> Problem:
    try:
        message = codec.decode(answer.body, dict[str, str])["message"]
    except (ValueError, KeyError):
        message = f"netd answered with status {answer.status}"
    return _BY_STATUS.get(answer.status, errors.ServerError)(message)
