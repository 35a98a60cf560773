"""The route of ``system df``: what images, containers, volumes and the build cache take on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from netd.common.errors import BadRequest
from netd.common.http.web import Call, HttpRoute, json
from runtime.api import shapes, versions
from runtime.api.images import image_shapes
from runtime.build.execute.build_cache import BuildCache
from runtime.engine.containers.containers import Containers
from runtime.images.image_store import Images
from runtime.paths import Paths
from runtime.storage.drivers.selection import StorageDrivers
from runtime.storage.volumes import Volumes


class DiskUsageRoutes:
    def __init__(
        self,
        images: Images,
        containers: Containers,
        volumes: Volumes,
        build_cache: BuildCache,
        *,
        paths: Paths,
        drivers: StorageDrivers,
    ) -> None:
        self._images = images
        self._containers = containers
        self._volumes = volumes
        self._build_cache = build_cache
        self._paths = paths
        self._drivers = drivers

    def routes(self) -> Sequence[HttpRoute]:
        return [HttpRoute("GET", "/system/df", self.usage)]

    async def usage(self, call: Call) -> web.StreamResponse:
        """Answer with all kinds of objects, or with those named by the query parameter ``type``."""
        wanted = call.texts("type") or list(self._kinds)
        if unknown := [kind for kind in wanted if kind not in self._kinds]:
            raise BadRequest(f"unknown object type: {unknown[0]}")
        shape: dict[str, Any] = {"Images": None, "Containers": None, "Volumes": None, "BuildCache": None}
        for kind in dict.fromkeys(wanted):
            shape |= await self._kinds[kind]()
        return json(versions.disk_usage(shape, call.version, verbose=call.flag("verbose")))

    @property
    def _kinds(self) -> dict[str, Callable[[], Awaitable[dict[str, Any]]]]:
        return {
            "image": self._of_images,
            "container": self._of_containers,
            "volume": self._of_volumes,
            "build-cache": self._of_build_cache,
        }

    async def _of_images(self) -> dict[str, Any]:
        images, sizes = self._images.all(), await self._images.layer_sizes()
        rows = []
        for image in images:
            containers = len(self._containers.users_of_image(image.id))
            shared = image_shapes.shared_size(image, images, sizes)
            rows.append(image_shapes.row(image, self._images.references(image.id), containers, shared))
        return {"LayersSize": sum(sizes.values()), "Images": rows}

    async def _of_containers(self) -> dict[str, Any]:
        found = self._containers.all()
        links = self._containers.link_names()
        records = [container.record for container in found]
        sizes = await asyncio.to_thread(lambda: [self._drivers.size(self._paths, record) for record in records])
        rows = []
        for container, size in zip(found, sizes, strict=True):
            names = self._images.names_of(container.record.image)
            image = self._images.by_id(container.record.image)
            row = shapes.row(container.record, names, container.health, links.get(container.id, ()))
            rows.append({**row, "SizeRw": size, "SizeRootFs": size + (image.size if image else 0)})
        return {"Containers": rows}

    async def _of_volumes(self) -> dict[str, Any]:
        volumes = self._volumes.all()
        sizes = await asyncio.to_thread(lambda: [self._volumes.size(volume.name) for volume in volumes])
        rows = [
            {
                "CreatedAt": volume.created,
                "Name": volume.name,
                "Driver": "local",
                "Mountpoint": str(self._volumes.folder(volume.name)),
                "Labels": volume.labels,
                "Scope": "local",
                "Options": volume.options or None,
                "UsageData": {"Size": size, "RefCount": len(self._containers.users_of_volume(volume.name))},
            }
            for volume, size in zip(volumes, sizes, strict=True)
        ]
        return {"Volumes": rows}

    async def _of_build_cache(self) -> dict[str, Any]:
        used = {chain for image in self._images.all() for chain in image.layers}
        rows = [
            {
                "ID": step.key[:25],
                "Type": "regular",
                "Description": step.description,
                "InUse": False,
                "Shared": bool(step.layers) and step.layers[-1] in used,
                "Size": step.size,
                "CreatedAt": step.created,
                "LastUsedAt": step.used_text,
                "UsageCount": step.uses,
            }
            for step in self._build_cache.all()
        ]
        return {"BuildCache": rows}
