"""The asynchronous client of netd, for runtimes.

Calls are messages on one connection (:mod:`netd.calls`), and HTTP requests in a session with persistent connections
where netd does not know the messages.  An error response is raised as the Problem class of its HTTP status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from netd import request_id, service_manager
from netd.api import (
    ConnectRequest,
    DisconnectRequest,
    PortsRequest,
    RenameRequest,
    ReservationRequest,
    ReservationView,
    SandboxRequest,
    SandboxView,
    SystemView,
)
from netd.calls import event_lines
from netd.calls.connection import CallConnection
from netd.common import codec
from netd.common.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NoSpace,
    NotFound,
    NotImplementedYet,
    Problem,
    ServerError,
    Unavailable,
)
from netd.common.events import Event

T = TypeVar("T")
_ROOT = "/netd/v1"
_SECONDS = 60.0
"""How long a call may take."""
_MAX_LINE = 1 << 20
_STREAMED_PRUNE = "/v1.56/networks/prune"
_PROBLEMS: Mapping[int, type[Problem]] = {
    kind.status: kind
    for kind in (BadRequest, Forbidden, NotFound, Conflict, ServerError, NotImplementedYet, Unavailable, NoSpace)
}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _ErrorBody(msgspec.Struct):
    message: str = ""


class _PruneLine(msgspec.Struct, rename="camel"):
    """A line of a streamed prune: a deleted network, or the report or an error at the end."""

    id: str = ""
    aux: dict[str, list[str] | None] | None = None
    error_detail: _ErrorBody | None = None


class NetdClient:
    """Client of the netd that listens on *socket*.  All calls raise Unavailable while no netd answers."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._session: aiohttp.ClientSession | None = None
        self._calls = CallConnection(socket)

    async def close(self) -> None:
        self._calls.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def create_sandbox(self, request: SandboxRequest) -> SandboxView:
        """Create all the networking of a container; if the creation fails, nothing is left."""
        return await self._call("POST", f"{_ROOT}/sandboxes", SandboxView, request)

    async def check_sandbox(self, request: SandboxRequest) -> None:
        """Raise the Problem with which netd would refuse the request whatever other containers and the host have."""
        await self._checked("POST", f"{_ROOT}/sandboxes/check", request)

    async def sandboxes(self) -> list[SandboxView]:
        return await self._call("GET", f"{_ROOT}/sandboxes", list[SandboxView])

    async def delete_sandbox(self, identifier: str) -> None:
        """Delete a sandbox; idempotent."""
        await self._checked("DELETE", f"{_ROOT}/sandboxes/{_part(identifier)}")

    async def rename_sandbox(self, identifier: str, name: str) -> SandboxView:
        return await self._call(
            "POST", f"{_ROOT}/sandboxes/{_part(identifier)}/rename", SandboxView, RenameRequest(name)
        )

    async def publish(self, identifier: str, request: PortsRequest) -> SandboxView:
        """Publish further ports of a running container; ports that are published already are not changed."""
        return await self._call("POST", f"{_ROOT}/sandboxes/{_part(identifier)}/ports", SandboxView, request)

    async def unpublish(self, identifier: str, request: PortsRequest) -> SandboxView:
        """Unpublish ports of a running container.  Raises NotFound for a port that is not published."""
        return await self._call("DELETE", f"{_ROOT}/sandboxes/{_part(identifier)}/ports", SandboxView, request)

    async def connect(self, network: str, request: ConnectRequest) -> SandboxView:
        """Connect a running container to a network and return its sandbox."""
        return await self._call("POST", f"{_ROOT}/networks/{_part(network)}/connect", SandboxView, request)

    async def disconnect(self, network: str, request: DisconnectRequest) -> SandboxView:
        return await self._call("POST", f"{_ROOT}/networks/{_part(network)}/disconnect", SandboxView, request)

    async def reserve(self, container: str, request: ReservationRequest) -> None:
        """Replace the addresses reserved for a container; an empty request deletes the reservation."""
        await self._checked("PUT", f"{_ROOT}/reservations/{_part(container)}", request)

    async def system(self) -> SystemView:
        """Return netd's status."""
        return await self._call("GET", f"{_ROOT}/system", SystemView)

    async def reservations(self) -> list[ReservationView]:
        return await self._call("GET", f"{_ROOT}/reservations", list[ReservationView])

    async def forward(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, kind: str = "application/json"
    ) -> Answer:
        """Forward a client's request, with *kind* as content type, and return the response, also an error response."""
        try:
            async with asyncio.timeout(_SECONDS):
                content_type = kind if body else ""
                reply = await self._calls.call(request_id.current(), method, path, query.items(), content_type, body)
        except (TimeoutError, OSError) as problem:
            raise self._unavailable(problem) from problem
        if reply is None:
            return await self._request(method, path, query, body, kind)
        return Answer(reply.status, {"Content-Type": reply.content_type}, reply.body)

    async def _request(self, method: str, path: str, query: Mapping[str, str], body: bytes, kind: str) -> Answer:
        """Do what ``forward`` does, by HTTP."""
        headers = {request_id.HEADER: request_id.current(), **({"Content-Type": kind} if body else {})}
        try:
            async with self._open().request(
                method, f"http://netd{path}", params=query, data=body or None, headers=headers
            ) as response:
                return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise self._unavailable(problem) from problem

    async def prune_networks(self, filters: str) -> AsyncGenerator[str, None]:
        """Delete unused networks that match the query parameter *filters* of Docker's API; yield each deleted name.

        netd stops if the iterator is closed before its end.
        """
        query = {"stream": "1", **({"filters": filters} if filters else {})}
        headers = {request_id.HEADER: request_id.current()}
        try:
            async with self._open().post(
                f"http://netd{_STREAMED_PRUNE}",
                params=query,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
            ) as response:
                if response.status >= 400:
                    raise _problem(Answer(response.status, response.headers, await response.read()))
                while line := await response.content.readline():
                    message = codec.decode(line, _PruneLine)
                    if message.aux is not None:
                        return
                    if message.error_detail is not None:
                        raise ServerError(message.error_detail.message)
                    yield message.id
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise self._unavailable(problem) from problem
        raise Unavailable(f"netd on {self.socket} ended before all networks were deleted: prune again")

    async def events(self) -> AsyncIterator[Event]:
        """Yield events from now on.  Raises Unavailable when the connection ends; events after that may be missed."""
        try:
            async for line in event_lines.lines(self.socket, "/events"):
                yield codec.decode(line, Event)
        except (TimeoutError, OSError) as problem:
            raise self._unavailable(problem) from problem
        raise Unavailable(f"netd on {self.socket} ended its events")

    async def _call(self, method: str, path: str, kind: type[T], body: Any = None) -> T:
        return codec.decode((await self._checked(method, path, body)).body, kind)

    async def _checked(self, method: str, path: str, body: Any = None) -> Answer:
        answer = await self.forward(method, path, {}, codec.encode(body) if body is not None else b"")
        if answer.status >= 400:
            raise _problem(answer)
        return answer

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.UnixConnector(str(self.socket), limit=0, keepalive_timeout=60.0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=_SECONDS, sock_connect=5.0),
                read_bufsize=_MAX_LINE,
                auto_decompress=False,
            )
        return self._session

    def _unavailable(self, problem: Exception) -> Unavailable:
        if isinstance(problem, TimeoutError):
            return Unavailable(f"netd on {self.socket} does not answer")
        cause = getattr(problem, "os_error", problem)
        reason = getattr(cause, "strerror", "") or cause or type(problem).__name__
        if isinstance(cause, FileNotFoundError | ConnectionRefusedError):
            start = service_manager.start_command(self.socket.parent)
            return Unavailable(f"netd is not running ({self.socket}: {reason}): start it with '{start}'")
        return Unavailable(f"netd on {self.socket} ended the connection ({reason}): try again, or see its log")


def _part(text: str) -> str:
    return quote(text, safe="")


def _problem(answer: Answer) -> Problem:
    try:
        message = codec.decode(answer.body, _ErrorBody).message
    except msgspec.DecodeError:
        message = answer.body.decode(errors="replace")
    return _PROBLEMS.get(answer.status, ServerError)(message or f"netd answered {answer.status}")
