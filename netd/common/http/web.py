"""HTTP requests of both daemons: Docker's conventions for paths, versions, bodies and errors.

Routes are passed in by the daemons.  Only this module turns errors of request handlers into responses.  Hijacked
connections are in :mod:`netd.common.http.hijack`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar
from urllib.parse import unquote

import msgspec
from aiohttp import web
from multidict import MultiDict

from netd import request_id
from netd.common import codec, json_keys, resource_errors
from netd.common.digits import signed
from netd.common.errors import BadRequest, NotFound, NotModified, Problem, RequestTimeout, ServerError
from netd.common.filters import Filters
from netd.common.filters import parse as parse_filters
from netd.metrics.request_counters import RequestCounters

T = TypeVar("T")

Version = tuple[int, int]
Handler = Callable[["Call"], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)
_FALSE = frozenset({"", "0", "no", "false", "none"})
_VERSIONED = re.compile(r"/v(\d{1,4})\.(\d{1,4})(/.*)\Z", re.DOTALL | re.ASCII)
_BODY_LIMIT = 4 << 20
_BODY_SECONDS = 60.0
"""Limit for receiving a whole JSON body."""
_ARCHIVE_SECONDS = 300.0
"""Limit between two chunks of an archive."""
HIJACKED = web.RequestKey("hijacked", web.StreamResponse)
"""The request key that holds the response object of a hijacked connection."""

_ROUTE = web.RequestKey("route", str)
"""The request key of the pattern of its route."""


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """A route.  ``{name}`` in a pattern matches one segment of the path, ``{name:path}`` one or more."""

    method: str
    pattern: str
    handler: Handler


@dataclass(frozen=True, slots=True)
class Product:
    """A daemon's name, version and API versions, as reported to Docker's clients."""

    name: str
    version: str
    api: Version = (1, 56)
    api_minimum: Version = (1, 24)
    ping: Mapping[str, str] = field(default_factory=dict)
    """Additional headers of ``/_ping``."""

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Api-Version": text(self.api),
            "Ostype": "linux",
            "Docker-Experimental": "false",
            "Server": f"{self.name}/{self.version} (linux)",
        }


def text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


class Call:
    """One request, with typed access to its parameters and body."""

    def __init__(self, request: web.BaseRequest, params: Mapping[str, str], version: Version) -> None:
        self.request = request
        self.params = params
        self.version = version

    def text(self, key: str, default: str = "") -> str:
        found = self.texts(key)
        return found[0] if found else default

    @property
    def content_type(self) -> tuple[str, str]:
        """The type of the body without parameters, and the header as it was given."""
        return self.request.content_type, self.request.headers.get("Content-Type", "")

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    def texts(self, key: str) -> list[str]:
        """Return all values of a repeatable query parameter."""
        found: list[str] = self._values(key)
        if any("\0" in text for text in found):
            raise BadRequest(f"the query parameter {key} holds a NUL character: remove it")
        return found

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a query boolean by Docker's rule: empty, 0, no, false and none are false, all other values true."""
        found = self.query.get(key)
        return default if found is None else found.strip().lower() not in _FALSE

    def number(self, key: str, default: int) -> int:
        found = self.query.get(key, "")
        number = signed(found) if found else default
        if number is None:
            raise BadRequest(f"{key} must be a number, not {found!r}")
        return number

    def _values(self, key: str) -> list[str]:
        found: list[str] = self.request.query.getall(key, [])
        return found

    def filters(self, allowed: frozenset[str]) -> Filters:
        return parse_filters(self.text("filters"), allowed)

    async def body(self, kind: type[T], spelled_as: type | None = None) -> T:
        """Return the JSON body as *kind*; an empty body counts as ``{}``.  Raises BadRequest with Docker's message.

        Keys are case-insensitive; they are normalized to the keys of *spelled_as*, by default *kind*.
        """
        data = await self.raw()
        if not data.strip():
            data = b"{}"
        elif (found := self.content_type)[0] != "application/json":
            given = found[1]
            raise BadRequest(f"unsupported Content-Type header ({given}): must be 'application/json'")
        try:
            if (place := codec.find_nul(data)) is not None:
                raise BadRequest(f"invalid JSON: the string at `{place}` holds a NUL character: remove it")
            return codec.decode(json_keys.normalize_keys(data, spelled_as or kind), kind)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise BadRequest(_json_error(error)) from None

    async def raw(self) -> bytes:
        """Return the whole body.  Raises BadRequest above 4 MiB, RequestTimeout after 60 seconds."""
        if not self.request.can_read_body:
            return b""
        data = bytearray()
        deadline = asyncio.get_running_loop().time() + _BODY_SECONDS
        while chunk := await self._chunk(deadline, _BODY_SECONDS):
            data += chunk
            if len(data) > _BODY_LIMIT:
                raise BadRequest("the request body is larger than 4 MiB")
        return bytes(data)

    async def archive(self) -> AsyncIterator[bytes]:
        """Yield a body of any size in chunks.  Raises RequestTimeout after five minutes without data."""
        loop = asyncio.get_running_loop()
        if self.request.headers.get("Expect", "").lower() == "100-continue" and self.request.transport is not None:
            self.request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while chunk := await self._chunk(loop.time() + _ARCHIVE_SECONDS, _ARCHIVE_SECONDS):
            yield chunk

    async def _chunk(self, deadline: float, seconds: float) -> bytes:
        """Return the next chunk of the body, b"" at its end."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self.request.content.readany()
        except TimeoutError:
            raise RequestTimeout(
                f"the request body was not received within {seconds:g} seconds; send it again"
            ) from None
        except web.RequestPayloadError as error:
            raise BadRequest(f"the request body cannot be read: {' '.join(str(error).split())}") from None


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """A request that did not arrive by HTTP, with its whole body."""

    method: str
    path: str
    """Percent-encoded, without the query."""
    query: Sequence[tuple[str, str]]
    content_type: str
    body: bytes
    request_id: str


class MessageCall(Call):
    """The call of a MessageRequest, which has no connection to stream to."""

    def __init__(self, message: MessageRequest, params: Mapping[str, str], version: Version) -> None:
        self._message = message
        self._query = MultiDict(message.query)
        self.params = params
        self.version = version

    @property
    def request(self) -> NoReturn:  # type: ignore[override]
        raise BadRequest(f"{self._message.method} {self._message.path} needs an HTTP connection of its own")

    @property
    def content_type(self) -> tuple[str, str]:
        given = self._message.content_type
        return given.partition(";")[0].strip().lower() or "application/octet-stream", given

    @property
    def query(self) -> Mapping[str, str]:
        return self._query

    def _values(self, key: str) -> list[str]:
        return self._query.getall(key, [])

    async def raw(self) -> bytes:
        if len(self._message.body) > _BODY_LIMIT:
            raise BadRequest("the request body is larger than 4 MiB")
        return self._message.body


def json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=codec.encode(value) + b"\n", status=status, content_type="application/json")


def empty(status: int = 204) -> web.Response:
    return web.Response(status=status)


async def stream(call: Call, headers: Mapping[str, str], status: int = 200) -> web.StreamResponse:
    """Send the response headers, and return the response for writing."""
    response = web.StreamResponse(status=status, headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(call.request)
    return response


class Front:
    """Dispatches requests to routes, checks API versions, and turns Problems into responses."""

    def __init__(self, product: Product, routes: Sequence[HttpRoute], requests: RequestCounters | None = None) -> None:
        self.product = product
        routes = [*routes, HttpRoute("GET", "/_ping", self._ping), HttpRoute("HEAD", "/_ping", self._ping)]
        self._requests = requests or RequestCounters()
        self._routes: dict[str, list[tuple[re.Pattern[str], HttpRoute]]] = {}
        for route in routes:
            self._routes.setdefault(route.method, []).append((_compiled(route.pattern), route))

    def patterns(self) -> Iterator[tuple[str, str]]:
        """Yield (method, pattern) of every route."""
        return ((route.method, route.pattern) for routes in self._routes.values() for _, route in routes)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request.  Raises CancelledError and ConnectionError only."""
        identifier, begun = request_id.begin(request.headers.get(request_id.HEADER, "")), time.monotonic()
        response = await self._answer(request)
        if not response.prepared:
            response.headers.update(self.product.headers)
            response.headers[request_id.HEADER] = identifier
        seconds = time.monotonic() - begun
        self._requests.observe(request.method, request.get(_ROUTE, "unknown"), response.status, seconds)
        if _log.isEnabledFor(logging.DEBUG):
            client = request.headers.get("User-Agent", "")[:64]
            _log_request(request.method, request.path, client, response.status, seconds)
        return response

    async def answer_message(self, message: MessageRequest) -> web.Response:
        """Answer a request that did not arrive by HTTP."""
        request_id.begin(message.request_id)
        begun, method, path = time.monotonic(), message.method, unquote(message.path)
        pattern = "unknown"
        try:
            route, params, version = self._find(method, path)
            pattern = route.pattern
            found = await route.handler(MessageCall(message, params, version))
            if not isinstance(found, web.Response):
                raise BadRequest(f"{method} {path} needs an HTTP connection of its own")
            response = found
        except Exception as error:
            response = _error_response(method, path, error)
        seconds = time.monotonic() - begun
        self._requests.observe(method, pattern, response.status, seconds)
        if _log.isEnabledFor(logging.DEBUG):
            _log_request(method, path, "message", response.status, seconds)
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._dispatch(request)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            response = _error_response(request.method, request.path, error)
            hijacked = request.get(HIJACKED)
            # The client of a hijacked connection reads a raw stream: the error cannot be sent as a response.
            return response if hijacked is None or isinstance(error, Problem) else hijacked

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "OPTIONS":
            self._versioned(request.path)
            return empty(200)
        route, params, version = self._find(request.method, request.path)
        request[_ROUTE] = route.pattern
        return await route.handler(Call(request, params, version))

    def _find(self, method: str, path: str) -> tuple[HttpRoute, Mapping[str, str], Version]:
        """Return the route of a path, its parameters and the version of the API.  Raises NotFound."""
        path, version = self._versioned(path)
        for pattern, route in self._routes.get(method, ()):
            if (found := pattern.match(path)) is not None:
                return route, found.groupdict(), version
        raise NotFound("page not found")

    def _versioned(self, path: str) -> tuple[str, Version]:
        product = self.product
        if (found := _VERSIONED.match(path)) is None:
            return path, product.api
        version = (int(found[1]), int(found[2]))
        if version > product.api:
            raise BadRequest(
                f"client version {text(version)} is too new. Maximum supported API version is {text(product.api)}"
            )
        if version < product.api_minimum:
            raise BadRequest(
                f"client version {text(version)} is too old. Minimum supported API version is "
                f"{text(product.api_minimum)}, please upgrade your client to a newer version"
            )
        return found[3], version

    async def _ping(self, call: Call) -> web.StreamResponse:
        headers = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", **self.product.ping}
        return web.Response(text="OK" if call.request.method == "GET" else "", headers=headers)


def _log_request(method: str, path: str, client: str, status: int, seconds: float) -> None:
    """Log who called what, the status, and the time until the response began or, for streams, ended."""
    _log.debug("request: method=%s path=%s status=%d ms=%.1f client=%s", method, path, status, seconds * 1000, client)


def _error_response(method: str, path: str, error: Exception) -> web.Response:
    if isinstance(error, NotModified):
        return empty(304)
    return _refusal(error) if isinstance(error, Problem) else _unexpected(method, path, error)


def _refusal(problem: Problem) -> web.Response:
    return json({"message": problem.message}, problem.status)


def _unexpected(method: str, path: str, error: Exception) -> web.Response:
    what = f"{method} {path} failed"
    if (problem := resource_errors.problem(error, what)) is not None:
        _log.error("request failed: method=%s path=%s error=%s", method, path, error)
        return _refusal(problem)
    _log.error("request failed: method=%s path=%s", method, path, exc_info=error)
    return _refusal(ServerError(f"{what}; the daemon's log has the cause (request {request_id.current()})"))


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?::path)?\})", pattern)
    return re.compile("".join(_part(part) for part in parts) + r"/?\Z", re.DOTALL)


def _part(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    name, _, kind = part[1:-1].partition(":")
    return f"(?P<{name}>.+?)" if kind else f"(?P<{name}>[^/]+)"


def _json_error(error: Exception) -> str:
    words = str(error)
    return "unexpected content after JSON" if "trailing characters" in words else f"invalid JSON: {words}"
