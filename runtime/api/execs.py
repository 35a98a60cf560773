"""Routes of execs: create, start, resize, inspect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from netd.common.digits import Int64
from netd.common.errors import Problem
from netd.common.http.hijack import hijack
from netd.common.http.web import Call, HttpRoute, empty, json
from runtime.api import attach_session, bodies
from runtime.api.container_streams import terminal_size
from runtime.api.long_requests import LongRequests
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.execs import Exec, Execs
from runtime.engine.lifecycle.start import start_problem
from runtime.engine.options import detach_keys
from runtime.record import ExecConfig
from runtime.spec import StartError

_PREFIX = "exec failed: unable to start container process: "


class ExecStartRequest(msgspec.Struct, frozen=True, rename="pascal"):
    """The body of ``POST /exec/{id}/start``."""

    detach: bool = False
    tty: bool = False
    console_size: list[Int64] | None = None


class ExecRoutes:
    def __init__(self, containers: Containers, execs: Execs, long_requests: LongRequests) -> None:
        self._containers = containers
        self._execs = execs
        self._long_requests = long_requests

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("POST", "/containers/{name:path}/exec", self.create),
            HttpRoute("POST", "/exec/{id}/start", self.start),
            HttpRoute("POST", "/exec/{id}/resize", self.resize),
            HttpRoute("GET", "/exec/{id}/json", self.inspect),
        ]

    async def create(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        new_exec = await self._execs.create(container, await bodies.read(call, ExecConfig))
        return json({"Id": new_exec.id}, 201)

    async def start(self, call: Call) -> web.StreamResponse:
        request = await bodies.read(call, ExecStartRequest)
        exec_ = self._execs.find(call.params["id"])
        await self._execs.begin(exec_)
        if request.console_size and len(request.console_size) == 2 and all(request.console_size):
            exec_.size = (request.console_size[0], request.console_size[1])
        if request.detach:
            return await self._detached(exec_)
        return await self._attached(call, exec_, tty=request.tty)

    async def _detached(self, exec_: Exec) -> web.StreamResponse:
        try:
            await self._execs.start(exec_, attached=False)
        except StartError as error:
            raise start_problem(error) from None
        return empty(200)

    async def _attached(self, call: Call, exec_: Exec, *, tty: bool) -> web.StreamResponse:
        """Serve the streams, without frames if *tty*, which is the start request's, as in Docker.

        Errors are sent on the stream, because the response headers are sent first.
        """
        config = exec_.config
        options = attach_session.SessionOptions(
            tty=tty, stdin=config.attach_stdin, close_stdin=True, keys=detach_keys.parse(config.detach_keys)
        )
        upgrade = "Upgrade" in call.request.headers
        kind = attach_session.content_type(tty=tty, version=call.version, upgrade=upgrade)
        connection = await hijack(call, kind, {})
        attached = config.attach_stdin or config.attach_stdout or config.attach_stderr
        try:
            streams = await self._execs.start(exec_, attached=attached)
        except (StartError, Problem) as error:
            text = f"OCI runtime exec failed: {_PREFIX}{error.message}\r\n".encode()
            connection.writer.write(text if tty else attach_session.frame(1, text))
            return connection
        if streams is not None:
            with self._long_requests.session():
                if await attach_session.run(connection, streams, options) and exec_.running is not None:
                    # The client inspects the exec for its exit code as soon as the stream has ended.
                    await exec_.running.wait()
        return connection

    async def resize(self, call: Call) -> web.StreamResponse:
        await self._execs.resize(self._execs.find(call.params["id"]), *terminal_size(call))
        return empty(200)

    async def inspect(self, call: Call) -> web.StreamResponse:
        return json(_shape(self._execs.find(call.params["id"])))


def _shape(exec_: Exec) -> dict[str, Any]:
    config, command = exec_.config, exec_.config.cmd or [""]
    return {
        "ID": exec_.id,
        "Running": exec_.running is not None and exec_.code is None,
        "ExitCode": exec_.code,
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": command[0],
            "arguments": command[1:],
            "privileged": config.privileged,
            **({"user": config.user} if config.user else {}),
        },
        "OpenStdin": config.attach_stdin,
        "OpenStdout": config.attach_stdout,
        "OpenStderr": config.attach_stderr,
        "CanRemove": False,
        "ContainerID": exec_.container,
        "DetachKeys": config.detach_keys,
        "Pid": exec_.running.pid if exec_.running else 0,
    }
