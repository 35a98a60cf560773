"""Routes of images: list, inspect, history, tag, remove, prune; creation from a registry or an archive is passed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from aiohttp import web

from netd.common.errors import BadRequest
from netd.common.events import Bus, event
from netd.common.filters import Filters
from netd.common.http.deletion_stream import Deleted, respond
from netd.common.http.web import Call, Handler, HttpRoute, json
from runtime.api import versions
from runtime.api.images import image_shapes
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.image_removal import ImageRemoval
from runtime.engine.views import image_filters, listing
from runtime.images import compatibility, reference
from runtime.images.image_config import ImageRecord
from runtime.images.image_store import Images
from runtime.images.reference import Reference
from runtime.paths import Paths


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
            HttpRoute("GET", "/images/json", self.list_images),
            HttpRoute("POST", "/images/create", self.create),
            HttpRoute("POST", "/images/prune", self.prune),
            HttpRoute("GET", "/images/{name:path}/json", self.inspect),
            HttpRoute("GET", "/images/{name:path}/history", self.history),
            HttpRoute("POST", "/images/{name:path}/tag", self.tag),
            HttpRoute("DELETE", "/images/{name:path}", self.remove),
        ]

    async def list_images(self, call: Call) -> web.StreamResponse:
        filters = call.filters(image_filters.LIST_KEYS)
        if call.text("filter"):
            filters = Filters({**filters.values, "reference": (*filters.get("reference"), call.text("filter"))})
        shares = call.flag("shared-size")
        images = self._images.all()
        sizes = await self._images.layer_sizes() if shares else {}
        rows = [
            image_shapes.row(
                image,
                names,
                len(self._containers.users_of_image(image.id)),
                image_shapes.shared_size(image, images, sizes) if shares else -1,
            )
            for image, names in self._selected(images, filters, all_=call.flag("all"))
        ]
        shown = (versions.image_row(row, call.version) for row in rows)
        return json(sorted(shown, key=lambda row: row["Created"], reverse=True))

    def _selected(
        self, images: Sequence[ImageRecord], filters: Filters, *, all_: bool
    ) -> Iterator[tuple[ImageRecord, list[Reference]]]:
        """Yield the images of a list with the names to be shown.

        Unnamed parents of other images are shown with *all_* only.
        """
        dangling = filters.flag("dangling")
        until = [image_filters.moment(listing.parse_until(text)) for text in filters.get("until")]
        for image in images:
            names = image_filters.selected_names(self._images.references(image.id), filters)
            has_tag = any(not name.digest for name in names)
            if not names:
                hidden = not all_ and self._images.children(image.id)
                if hidden or dangling is False or filters.get("reference"):
                    continue
            elif dangling and has_tag:
                continue
            if self._matches(image, filters, until):
                yield image, names

    def _matches(self, image: ImageRecord, filters: Filters, until: Sequence[float]) -> bool:
        is_of_age = image_filters.matches_age(image, filters, self._images, until)
        return is_of_age and image_filters.matches_labels(image, filters)

    async def inspect(self, call: Call) -> web.StreamResponse:
        image = self._images.find(call.params["name"])
        _check_platform(image, call.params["name"], [call.text("platform")])
        return json(versions.image(image_shapes.inspect(image, self._images, _graph(image, self._paths)), call.version))

    async def history(self, call: Call) -> web.StreamResponse:
        image = self._images.find(call.params["name"])
        _check_platform(image, call.params["name"], [call.text("platform")])
        return json(image_shapes.history(image, self._images, await self._images.layer_sizes()))

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
        if platforms := call.texts("platforms"):
            _check_platform(self._images.find(call.params["name"]), call.params["name"], platforms)
        return json(
            await self._removal.remove(call.params["name"], force=call.flag("force"), prune=not call.flag("noprune"))
        )

    async def prune(self, call: Call) -> web.StreamResponse:
        filters = call.filters(image_filters.PRUNE_KEYS)
        dangling = filters.flag("dangling")
        until = [image_filters.moment(listing.parse_until(text)) for text in filters.get("until")]

        async def work(deleted: Deleted) -> dict[str, Any]:
            report, freed = await self._removal.prune(
                lambda image: self._matches(image, filters, until),
                dangling=dangling is None or dangling,
                deleted=deleted,
            )
            return {"ImagesDeleted": report or None, "SpaceReclaimed": freed}

        return await respond(call, work)

    def _publish_event(self, action: str, image: ImageRecord, name: str) -> None:
        self._bus.publish(event("image", action, image.id, {"name": name}))


def _check_platform(image: ImageRecord, name: str, texts: Sequence[str]) -> None:
    """Raise an error if the image is for another platform than each of *texts*; "" is any."""
    for text in texts:
        if (platform := compatibility.requested(text)) is not None:
            compatibility.check(compatibility.platform_of(image), name, platform)


def _graph(image: ImageRecord, paths: Paths) -> dict[str, Any]:
    layers = [str(paths.layer(chain)) for chain in reversed(image.layers)]
    data = {"UpperDir": layers[0] if layers else "", "LowerDir": ":".join(layers[1:])}
    return {"Name": "overlay2", "Data": data}
