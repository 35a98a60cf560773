"""``exec``: the routes of further programs in a container."""

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
from runtime.api.container_streams import size
from runtime.api.long_requests import LongRequests
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.execs import Exec, Execs
from runtime.engine.lifecycle.start import as_problem
from runtime.engine.options import detach_keys
from runtime.record import ExecConfig
from runtime.spec import StartError


class StartRequest(msgspec.Struct, frozen=True, rename="pascal"):
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
        made = self._execs.create(container, await bodies.read(call, ExecConfig))
        return json({"Id": made.id}, 201)

    async def start(self, call: Call) -> web.StreamResponse:
        asked = await bodies.read(call, StartRequest)
        one = self._execs.find(call.params["id"])
        self._execs.begin(one)
        if asked.console_size and len(asked.console_size) == 2 and all(asked.console_size):
            one.size = (asked.console_size[0], asked.console_size[1])
        if asked.detach:
            return await self._detached(one)
        return await self._attached(call, one)

    async def _detached(self, one: Exec) -> web.StreamResponse:
        try:
            await self._execs.start(one, attached=False)
        except StartError as error:
            raise as_problem(error) from None
        return empty(200)

    async def _attached(self, call: Call, one: Exec) -> web.StreamResponse:
        """Serve the streams; what goes wrong from here on is told on the stream, as the answer is given."""
        config = one.config
        terms = attach_session.Terms(
            tty=config.tty, stdin=config.attach_stdin, close_stdin=True, keys=detach_keys.parse(config.detach_keys)
        )
        upgrade = "Upgrade" in call.request.headers
        kind = attach_session.content_type(tty=config.tty, version=call.version, upgrade=upgrade)
        taken = await hijack(call, kind, {})
        try:
            streams = await self._execs.start(one, attached=True)
        except (StartError, Problem) as error:
            text = f"OCI runtime exec failed: {error.message}\r\n".encode()
            taken.writer.write(text if config.tty else attach_session.frame(1, text))
            return taken
        if streams is not None:
            with self._long_requests.session():
                if await attach_session.run(taken, streams, terms) and one.running is not None:
                    # The client asks for the exit code as soon as the stream has ended.
                    await one.running.wait()
        return taken

    async def resize(self, call: Call) -> web.StreamResponse:
        await self._execs.resize(self._execs.find(call.params["id"]), *size(call))
        return empty(200)

    async def inspect(self, call: Call) -> web.StreamResponse:
        return json(_shape(self._execs.find(call.params["id"])))


def _shape(one: Exec) -> dict[str, Any]:
    config, command = one.config, one.config.cmd or [""]
    return {
        "ID": one.id,
        "Running": one.running is not None and one.code is None,
        "ExitCode": one.code,
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": command[0],
            "arguments": command[1:],
            "privileged": config.privileged,
            "user": config.user,
        },
        "OpenStdin": config.attach_stdin,
        "OpenStdout": config.attach_stdout,
        "OpenStderr": config.attach_stderr,
        "CanRemove": False,
        "ContainerID": one.container,
        "DetachKeys": config.detach_keys,
        "Pid": one.running.pid if one.running else 0,
    }
