"""Routes of the files of a container: archives in and out, export, changes."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web

from netd.common import codec
from netd.common.http.web import Call, HttpRoute, json, stream
from runtime.api.long_requests import LongRequests
from runtime.engine.containers.containers import Containers
from runtime.engine.files.archives import ContainerArchives, WriteOptions
from runtime.engine.files.thread_streams import FromThread

_STAT = "X-Docker-Container-Path-Stat"
_log = logging.getLogger(__name__)


class FileRoutes:
    def __init__(self, containers: Containers, archives: ContainerArchives, long_requests: LongRequests) -> None:
        self._containers = containers
        self._archives = archives
        self._long_requests = long_requests

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("HEAD", "/containers/{name:path}/archive", self.describe),
            HttpRoute("GET", "/containers/{name:path}/archive", self.read),
            HttpRoute("PUT", "/containers/{name:path}/archive", self.write),
            HttpRoute("GET", "/containers/{name:path}/export", self.export),
            HttpRoute("GET", "/containers/{name:path}/changes", self.changes),
        ]

    async def describe(self, call: Call) -> web.StreamResponse:
        name = call.params["name"]
        found = await self._archives.describe(self._containers.find(name), call.text("path"), name)
        return web.Response(headers={_STAT: _encoded(found)})

    async def read(self, call: Call) -> web.StreamResponse:
        name = call.params["name"]
        found, archive = await self._archives.read(self._containers.find(name), call.text("path"), name)
        return await self._send(call, archive, {"Content-Type": "application/x-tar", _STAT: _encoded(found)})

    async def write(self, call: Call) -> web.StreamResponse:
        name = call.params["name"]
        options = WriteOptions(own_user=call.flag("copyUIDGID"), keep_kinds=call.flag("noOverwriteDirNonDir"))
        container = self._containers.find(name)
        await self._archives.write(container, call.text("path"), name, call.archive(), options)
        return web.Response()

    async def export(self, call: Call) -> web.StreamResponse:
        archive = await self._archives.export(self._containers.find(call.params["name"]))
        return await self._send(call, archive, {"Content-Type": "application/octet-stream"})

    async def changes(self, call: Call) -> web.StreamResponse:
        found = await self._archives.changes(self._containers.find(call.params["name"]))
        return json([{"Path": change.path.decode(errors="replace"), "Kind": change.kind} for change in found] or None)

    async def _send(self, call: Call, archive: FromThread, headers: dict[str, str]) -> web.StreamResponse:
        """Stream the archive; after an error, disconnect, so that the client does not take it for complete."""
        try:
            response = await stream(call, headers)
            with suppress(ConnectionError), self._long_requests.session(call):
                await _write_all(call, archive, response)
            return response
        finally:
            archive.close()


async def _write_all(call: Call, archive: FromThread, response: web.StreamResponse) -> None:
    try:
        async for data in archive.chunks():
            await response.write(data)
    except ConnectionError:
        raise
    except Exception as error:
        _log.warning("archive not complete: path=%s error=%s", call.request.path, error)
        if call.request.transport is not None:
            call.request.transport.abort()


def _encoded(description: object) -> str:
    return b64encode(codec.encode(description)).decode()
