"""Routes of images: list, inspect, history, import, tag, remove, prune."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from netd.common.errors import BadRequest
from netd.common.events import Bus, event
from netd.common.filters import Filters
from netd.common.http.web import Call, Handler, HttpRoute, json
from netd.common.ids import ZERO_TIME
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.image_removal import ImageRemoval, reference_filter
from runtime.engine.views import listing
from runtime.images import reference
from runtime.images.image_config import ImageConfig, ImageRecord
from runtime.images.image_store import Images
from runtime.paths import Paths

_KEYS = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})


class ImageRoutes:
    def __init__(
        self,
        images: Images,
        removal: ImageRemoval,
        containers: Containers,
        *,
        paths: Paths,
        bus: Bus,
        pull: Handler,
        import_: Handler,
    ) -> None:
        """*pull* handles the creation of an image from a registry."""
        self._pull = pull
        self._import = import_
        self._images = images
        self._removal = removal
        self._containers = containers
        self._paths = paths
        self._bus = bus

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("GET", "/images/json", self.list),
            HttpRoute("POST", "/images/create", self.create),
            HttpRoute("POST", "/images/prune", self.prune),
            HttpRoute("GET", "/images/{name:path}/json", self.inspect),
            HttpRoute("GET", "/images/{name:path}/history", self.history),
            HttpRoute("POST", "/images/{name:path}/tag", self.tag),
            HttpRoute("DELETE", "/images/{name:path}", self.remove),
        ]

    async def list(self, call: Call) -> web.StreamResponse:
        filters = call.filters(_KEYS)
        if call.text("filter"):
            filters = Filters({**filters.values, "reference": (*filters.get("reference"), call.text("filter"))})
        selected = [image for image in self._images.all() if self._matches(image, filters)]
        selected.sort(key=lambda image: image.document.created, reverse=True)
        return json([self._row(image) for image in selected])

    def _matches(self, image: ImageRecord, filters: Filters) -> bool:
        names = self._images.names_of(image.id)
        document = image.document
        dangling = filters.flag("dangling")
        return (
            (dangling is None or dangling != bool(names))
            and reference_filter(filters.get("reference"), names)
            and _matches_age(document.created, filters, self._images)
            and filters.selects_labels(_labels(image))
        )

    def _row(self, image: ImageRecord) -> dict[str, Any]:
        return {
            "Id": image.id,
            "ParentId": "",
            "RepoTags": [name.short for name in self._images.names_of(image.id)],
            "RepoDigests": [],
            "Created": int(_time(image.document.created)),
            "Size": image.size,
            "SharedSize": -1,
            "Labels": _labels(image),
            "Containers": len(self._containers.users_of_image(image.id)),
        }

    async def inspect(self, call: Call) -> web.StreamResponse:
        return json(_shape(self._images.find(call.params["name"]), self._images, self._paths))

    async def history(self, call: Call) -> web.StreamResponse:
        image = self._images.find(call.params["name"])
        entries: list[dict[str, Any]] = [
            {
                "Id": "<missing>",
                "Created": int(_time(entry.created)),
                "CreatedBy": entry.created_by,
                "Tags": None,
                "Size": 0 if entry.empty_layer else image.size if len(image.layers) == 1 else 0,
                "Comment": entry.comment,
            }
            for entry in reversed(image.document.history or [])
        ]
        if entries:
            names = [name.short for name in self._images.names_of(image.id)]
            entries[0].update({"Id": image.id, "Tags": names or None})
        return json(entries)

    async def create(self, call: Call) -> web.StreamResponse:
        if call.text("fromImage"):
            return await self._pull(call)
        if call.text("fromSrc") != "-":
            raise BadRequest("import from a URL is not supported: download the archive, and import the file")
        return await self._import(call)

    async def tag(self, call: Call) -> web.StreamResponse:
        image = self._images.find(call.params["name"])
        if not call.text("repo"):
            raise BadRequest("the query parameter repo is empty: set it to the repository of the tag")
        name = reference.with_tag(call.text("repo"), call.text("tag"))
        if name.digest:
            raise BadRequest("refusing to create a tag with a digest reference")
        await self._images.tag(image, name)
        self._publish_event("tag", image, name.short)
        return web.Response(status=201)

    async def remove(self, call: Call) -> web.StreamResponse:
        return json(await self._removal.remove(call.params["name"], force=call.flag("force")))

    async def prune(self, call: Call) -> web.StreamResponse:
        filters = call.filters(_KEYS)
        dangling = filters.flag("dangling")
        others = Filters({key: value for key, value in filters.values.items() if key != "dangling"})
        report, freed = await self._removal.prune(
            lambda image: self._matches(image, others), dangling=dangling is None or dangling
        )
        return json({"ImagesDeleted": report or None, "SpaceReclaimed": freed})

    def _publish_event(self, action: str, image: ImageRecord, name: str) -> None:
        self._bus.publish(event("image", action, image.id, {"name": name}))


def _labels(image: ImageRecord) -> dict[str, str]:
    config = image.document.config
    return (config.labels if config else None) or {}


def _time(text: str) -> float:
    return datetime.fromisoformat(f"{text[:19]}+00:00").timestamp() if text else 0.0


def _matches_age(created: str, filters: Filters, images: Images) -> bool:
    before = [images.find(text).document.created for text in filters.get("before")]
    since = [images.find(text).document.created for text in filters.get("since")]
    until = [listing.parse_until(text) for text in filters.get("until")]
    return all(created < time for time in (*before, *until)) and all(created > time for time in since)


def _shape(image: ImageRecord, images: Images, paths: Paths) -> dict[str, Any]:
    document = image.document
    layers = [str(paths.layer(chain)) for chain in reversed(image.layers)]
    return {
        "Id": image.id,
        "RepoTags": [name.short for name in images.names_of(image.id)],
        "RepoDigests": [],
        "Parent": "",
        "Comment": document.comment,
        "Created": document.created,
        "DockerVersion": "",
        "Author": document.author,
        "Config": msgspec.to_builtins(document.config or ImageConfig()),
        "Architecture": document.architecture,
        "Os": document.os,
        "Size": image.size,
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {"UpperDir": layers[0] if layers else "", "LowerDir": ":".join(layers[1:])},
        },
        "RootFS": {"Type": "layers", "Layers": document.rootfs.diff_ids},
        "Metadata": {"LastTagTime": image.tagged or ZERO_TIME},
    }
