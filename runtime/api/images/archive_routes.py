"""Routes of archives of images: import, load and save."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from netd.common.errors import BadRequest, Problem
from netd.common.events import Bus, event
from netd.common.http.client_connections import disconnect
from netd.common.http.web import Call, HttpRoute, stream
from runtime.api import progress_stream
from runtime.api.long_requests import LongRequests
from runtime.images import compatibility, reference
from runtime.images.archives.importer import Importer
from runtime.images.archives.load import Loader
from runtime.images.archives.save import SavedArchive, Saver
from runtime.images.byte_pipe import BATCH, BytePipe
from runtime.images.byte_pipe import stream as pipe_from
from runtime.images.tar_writer import Sink
from runtime.progress import Report


class ImageArchiveRoutes:
    def __init__(
        self, importer: Importer, loader: Loader, saver: Saver, *, bus: Bus, long_requests: LongRequests
    ) -> None:
        self._importer = importer
        self._long_requests = long_requests
        self._loader = loader
        self._saver = saver
        self._bus = bus

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("POST", "/images/load", self.load),
            HttpRoute("GET", "/images/get", self.save_several),
            HttpRoute("GET", "/images/{name:path}/get", self.save),
        ]

    async def import_(self, call: Call) -> web.StreamResponse:
        """Answer ``POST /images/create`` with the archive of a root file system as its body."""
        repository = call.text("repo")
        name = reference.with_tag(repository, call.text("tag")) if repository else None
        if not call.request.can_read_body:
            raise BadRequest("the archive is empty: send a tar archive as the body of the request")
        platform = compatibility.requested(call.text("platform"))

        async def work(report: Report) -> None:
            changes, comment = call.texts("changes"), call.text("message")
            image = await self._importer.run(call.archive(), name, changes, comment, platform)
            self._bus.publish(event("image", "import", image.id, {"name": name.short if name else image.id}))
            report.message({"status": image.id})

        return await progress_stream.run(call, self._long_requests, work)

    async def load(self, call: Call) -> web.StreamResponse:
        if not call.request.can_read_body:
            raise BadRequest("the archive is empty: send a tar archive as the body of the request")

        async def work(report: Report) -> None:
            images = await self._loader.run(
                call.archive(), report, platform=_platform(call), quiet=call.flag("quiet", True)
            )
            for image in images:
                self._bus.publish(event("image", "load", image.id, {"name": image.id}))

        return await progress_stream.run(call, self._long_requests, work)

    async def save_several(self, call: Call) -> web.StreamResponse:
        names = [name for text in call.texts("names") for name in text.split(",") if name]
        if not names:
            raise BadRequest("no image is named: set the query parameter names")
        return await self._save(call, names)

    async def save(self, call: Call) -> web.StreamResponse:
        return await self._save(call, [call.params["name"]])

    async def _save(self, call: Call, names: Sequence[str]) -> web.StreamResponse:
        selected = self._saver.select(names, compatibility.requested(_platform(call)))
        with self._long_requests.session(call), self._saver.lease(selected):
            archive = await asyncio.to_thread(self._saver.prepare, selected)
            response = await stream(call, {"Content-Type": "application/x-tar"})
            try:
                with pipe_from(lambda sink: self._write(archive, sink)) as pipe:
                    await _send(response, pipe)
            except (Problem, OSError) as error:
                if isinstance(error, ConnectionError):
                    raise
                # The headers are sent: only a broken connection tells the client that the archive is incomplete.
                disconnect(call.request, str(error))
        for image in archive.images:
            self._bus.publish(event("image", "save", image.id, {"name": image.id}))
        return response

    def _write(self, archive: SavedArchive, sink: Sink) -> None:
        for data in self._saver.write(archive):
            sink.write(data)


async def _send(response: web.StreamResponse, pipe: BytePipe) -> None:
    while data := await asyncio.to_thread(pipe.read, BATCH):
        await response.write(data)


def _platform(call: Call) -> str:
    found = call.texts("platform")
    if len(found) > 1:
        raise BadRequest("several platforms are given: name one")
    return found[0] if found else ""
