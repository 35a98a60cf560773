"""The asynchronous client of netd's own calls, for runtimes.

One session with kept connections; what netd refuses is raised as the same Problem that it was there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

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
_PATIENCE = aiohttp.ClientTimeout(total=60.0, sock_connect=5.0)
_NO_END = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
_LONGEST_LINE = 1 << 20
_PROBLEMS: Mapping[int, type[Problem]] = {
    kind.status: kind
    for kind in (BadRequest, Forbidden, NotFound, Conflict, ServerError, NotImplementedYet, Unavailable, NoSpace)
}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _Refusal(msgspec.Struct):
    message: str = ""


class NetdClient:
    """Speaks to the netd that listens on *socket*.  All calls raise Unavailable while there is none."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def create_sandbox(self, request: SandboxRequest) -> SandboxView:
        """Make all the networking of a container; when that fails nothing is left."""
        return await self._call("POST", f"{_ROOT}/sandboxes", SandboxView, request)

    async def sandboxes(self) -> list[SandboxView]:
        return await self._call("GET", f"{_ROOT}/sandboxes", list[SandboxView])

    async def delete_sandbox(self, identifier: str) -> None:
        """Take a sandbox away; repeating it is harmless."""
        await self._checked("DELETE", f"{_ROOT}/sandboxes/{_part(identifier)}")

    async def rename_sandbox(self, identifier: str, name: str) -> SandboxView:
        return await self._call(
            "POST", f"{_ROOT}/sandboxes/{_part(identifier)}/rename", SandboxView, RenameRequest(name)
        )

    async def publish(self, identifier: str, request: PortsRequest) -> SandboxView:
        """Publish more ports of a running container; what it has published already stays untouched."""
        return await self._call("POST", f"{_ROOT}/sandboxes/{_part(identifier)}/ports", SandboxView, request)

    async def unpublish(self, identifier: str, request: PortsRequest) -> SandboxView:
        """Publish ports of a running container no more.  Raises NotFound for those that are not published."""
        return await self._call("DELETE", f"{_ROOT}/sandboxes/{_part(identifier)}/ports", SandboxView, request)

    async def connect(self, network: str, request: ConnectRequest) -> SandboxView:
        """Connect a running container and return what it has then."""
        return await self._call("POST", f"{_ROOT}/networks/{_part(network)}/connect", SandboxView, request)

    async def disconnect(self, network: str, request: DisconnectRequest) -> SandboxView:
        return await self._call("POST", f"{_ROOT}/networks/{_part(network)}/disconnect", SandboxView, request)

    async def reserve(self, container: str, request: ReservationRequest) -> None:
        """Keep addresses for a container, in place of what was kept for it; an empty request keeps nothing."""
        await self._checked("PUT", f"{_ROOT}/reservations/{_part(container)}", request)

    async def system(self) -> SystemView:
        """Return netd's own condition."""
        return await self._call("GET", f"{_ROOT}/system", SystemView)

    async def reservations(self) -> list[ReservationView]:
        return await self._call("GET", f"{_ROOT}/reservations", list[ReservationView])

    async def forward(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, kind: str = "application/json"
    ) -> Answer:
        """Hand a call of somebody else's on, whose body is of that kind, and return the answer, be it good or bad."""
        headers = {"Content-Type": kind} if body else {}
        try:
            async with self._open().request(
                method, f"http://netd{path}", params=query, data=body or None, headers=headers
            ) as response:
                return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise self._unavailable(problem) from problem

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens from now on.  Raises Unavailable when netd goes away: events may have been missed then."""
        try:
            async with self._open().get("http://netd/events", timeout=_NO_END) as response:
                while line := await response.content.readline():
                    yield codec.decode(line, Event)
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
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
                connector=connector, timeout=_PATIENCE, read_bufsize=_LONGEST_LINE, auto_decompress=False
            )
        return self._session

    def _unavailable(self, problem: Exception) -> Unavailable:
        if isinstance(problem, TimeoutError):
            return Unavailable(f"netd on {self.socket} does not answer")
        return Unavailable(f"cannot reach netd on {self.socket}: is it running? ({problem or type(problem).__name__})")


def _part(text: str) -> str:
    return quote(text, safe="")


def _problem(answer: Answer) -> Problem:
    try:
        message = codec.decode(answer.body, _Refusal).message
    except msgspec.DecodeError:
        message = answer.body.decode(errors="replace")
    return _PROBLEMS.get(answer.status, ServerError)(message or f"netd answered {answer.status}")
