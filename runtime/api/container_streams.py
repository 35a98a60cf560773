"""Routes ``attach``, ``logs``, ``wait`` and ``resize``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path

from aiohttp import web

from netd.common import codec
from netd.common.digits import unsigned
from netd.common.errors import BadRequest, Conflict, NotImplementedYet
from netd.common.http.hijack import hijack
from netd.common.http.web import Call, HttpRoute, empty, stream
from runtime import log_reader
from runtime.api import attach_session
from runtime.api.long_requests import LongRequests
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.control import Control
from runtime.engine.options import detach_keys, log_options
from runtime.paths import Paths


class StreamRoutes:
    def __init__(self, containers: Containers, control: Control, paths: Paths, long_requests: LongRequests) -> None:
        self._containers = containers
        self._control = control
        self._paths = paths
        self._long_requests = long_requests

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("POST", "/containers/{name:path}/attach", self.attach),
            HttpRoute("GET", "/containers/{name:path}/logs", self.logs),
            HttpRoute("POST", "/containers/{name:path}/wait", self.wait),
            HttpRoute("POST", "/containers/{name:path}/resize", self.resize),
        ]

    async def attach(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        if container.record.state.status == "paused":
            raise Conflict(f"Container {container.record.name} is paused. Unpause the container before attach")
        container.check_not_restarting()
        config = container.record.config
        options = attach_session.SessionOptions(
            tty=config.tty,
            stdin=call.flag("stdin") and config.open_stdin,
            close_stdin=config.stdin_once and not config.tty,
            keys=detach_keys.parse(call.text("detachKeys")),
        )
        upgrade = "Upgrade" in call.request.headers
        kind = attach_session.content_type(tty=config.tty, version=call.version, upgrade=upgrade)
        connection = await hijack(call, kind, {})
        self._containers.publish_event(container, "attach")
        selected = selected_streams(call)
        with self._long_requests.session():
            if call.flag("logs"):
                await self._replay(container, connection.writer, selected)
            if call.flag("stream"):
                streams = await attach_session.join(container, selected, options.stdin, connection.gone)
                if streams is not None:
                    await attach_session.run(connection, streams, options)
        return connection

    async def _replay(self, container: Container, writer: asyncio.StreamWriter, streams: frozenset[int]) -> None:
        async for lines in log_reader.read(self._log(container), log_reader.LogFilter(streams=streams)):
            for line in lines:
                writer.write(_encoded(line, tty=container.record.config.tty))
            await writer.drain()

    async def logs(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        if not (call.flag("stdout") or call.flag("stderr")):
            raise BadRequest(
                "Bad parameters: you must choose at least one stream: must specify at least one of 'stdout' or 'stderr'"
            )
        if container.record.host.log_config.type == "none":
            raise NotImplementedYet("configured logging driver does not support reading")
        log_filter = log_reader.LogFilter(
            tail=_tail(call.text("tail")),
            since=_time(call, "since"),
            until=_time(call, "until"),
            streams=selected_streams(call),
        )
        encode = partial(
            _encoded,
            tty=container.record.config.tty,
            timestamps=call.flag("timestamps"),
            details=log_options.details(container.record) if call.flag("details") else b"",
        )
        kind = attach_session.content_type(tty=container.record.config.tty, version=call.version)
        exited = (
            container.exit_waiters.add() if call.flag("follow") and container.record.state.counts_as_running else None
        )
        try:
            response = await stream(call, {"Content-Type": kind})
            async with aclosing(log_reader.read(self._log(container), log_filter, exited)) as batches:
                with suppress(ConnectionError), self._long_requests.session(call):
                    async for lines in batches:
                        await response.write(b"".join(map(encode, lines)))
        finally:
            if exited is not None:
                exited.cancel()
        return response

    async def wait(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        future = self._control.wait(container, call.text("condition"))
        try:
            response = await stream(call, {"Content-Type": "application/json"})
            with suppress(ConnectionError), self._long_requests.session(call):
                code = await future
                await response.write(codec.encode({"StatusCode": code}) + b"\n")
        finally:
            future.cancel()
        return response

    async def resize(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        rows, columns = terminal_size(call)
        if container.running is None:
            raise Conflict(f"container {container.id} is not running")
        await container.running.resize(rows, columns)
        self._containers.publish_event(container, "resize", height=str(rows), width=str(columns))
        return empty(200)

    def _log(self, container: Container) -> Path:
        return self._paths.container(container.id).log


def _encoded(line: log_reader.Line, *, tty: bool, timestamps: bool = False, details: bytes = b"") -> bytes:
    data = (line.timestamp() if timestamps else b"") + details + line.text
    return data if tty else attach_session.frame(line.stream, data)


def selected_streams(call: Call) -> frozenset[int]:
    """Return the numbers of the output streams that the query selects."""
    return frozenset(number for number, name in ((1, "stdout"), (2, "stderr")) if call.flag(name))


def _tail(text: str) -> int | None:
    """Return *text* as a number of lines; None, which selects all lines, if it is not a number, as in Docker."""
    return unsigned(text)


def _time(call: Call, key: str) -> int:
    """Return a query parameter in seconds, with or without fraction, as nanoseconds."""
    text = call.text(key) or "0"
    seconds, _, fraction = text.partition(".")
    number, part = unsigned(seconds), unsigned(f"{fraction[:9]:0<9}")
    if number is None or part is None:
        raise BadRequest(f"{key} must be seconds since 1970, not {text!r}")
    return number * 10**9 + part


def terminal_size(call: Call) -> tuple[int, int]:
    """Return (rows, columns) of a resize request."""
    rows, columns = unsigned(call.text("h"), 65535), unsigned(call.text("w"), 65535)
    if rows is None or columns is None:
        raise BadRequest("h and w must be numbers between 0 and 65535: the rows and columns of the terminal")
    return rows, columns
