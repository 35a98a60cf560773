"""The route of commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from aiohttp import web

from netd.common.errors import BadRequest
from netd.common.events import Bus, event
from netd.common.http.web import Call, HttpRoute, json
from runtime.api import bodies
from runtime.container_config import Config
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.commit import CommitRequest, Committer
from runtime.images import reference


class CommitRoutes:
    def __init__(self, containers: Containers, committer: Committer, bus: Bus) -> None:
        self._containers = containers
        self._committer = committer
        self._bus = bus

    def routes(self) -> Sequence[HttpRoute]:
        return [HttpRoute("POST", "/commit", self.commit)]

    async def commit(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.text("container"))
        repository = call.text("repo")
        name = reference.with_tag(repository, call.text("tag")) if repository else None
        if name is not None and name.digest:
            raise BadRequest("refusing to create a tag with a digest reference")
        request = CommitRequest(
            name=name,
            author=call.text("author"),
            comment=call.text("comment"),
            changes=[line for text in call.texts("changes") for line in text.splitlines()],
            config=await _config(call),
            pause=call.flag("pause", True),
        )
        image = await self._committer.run(container, request)
        shown = name.short if name else ""
        attributes = {"comment": request.comment, "imageID": image.id, "imageRef": shown}
        self._containers.publish_event(container, "commit", **attributes)
        if name is not None:
            self._bus.publish(event("image", "tag", image.id, {"name": shown}))
        return json({"Id": image.id}, 201)


async def _config(call: Call) -> Config | None:
    """Return the settings in the body; None if it is empty or ``null``."""
    if not call.request.can_read_body:
        return None
    kind = cast("type[dict[str, Any] | None]", dict[str, Any] | None)
    data = await call.body(kind, Config)
    return bodies.convert(data, Config) if data else None
