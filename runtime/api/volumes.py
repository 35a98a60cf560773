"""Routes of volumes: create, list, inspect, remove, prune."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from netd.common.errors import Conflict, NotFound, Unavailable
from netd.common.filters import Filters
from netd.common.http.deletion_stream import Deleted, respond
from netd.common.http.web import Call, HttpRoute, empty, json
from runtime.api import bodies
from runtime.engine.containers.containers import Containers
from runtime.record import VolumeRecord
from runtime.storage.volumes import Volumes

LIST_KEYS = frozenset({"dangling", "driver", "label", "label!", "name"})
PRUNE_KEYS = frozenset({"all", "label", "label!"})
_PRUNE_ANONYMOUS_ONLY = (1, 42)
"""From this API version on, prune removes named volumes only with the filter ``all``."""


class VolumeCreateRequest(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, Any] | None = None


class VolumeRoutes:
    def __init__(self, volumes: Volumes, containers: Containers) -> None:
        self._volumes = volumes
        self._containers = containers

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("GET", "/volumes", self.list),
            HttpRoute("POST", "/volumes/create", self.create),
            HttpRoute("POST", "/volumes/prune", self.prune),
            HttpRoute("GET", "/volumes/{name}", self.inspect),
            HttpRoute("DELETE", "/volumes/{name}", self.remove),
            HttpRoute("PUT", "/volumes/{name}", self.update),
        ]

    async def list(self, call: Call) -> web.StreamResponse:
        filters = call.filters(LIST_KEYS)
        dangling = filters.flag("dangling")
        selected = [
            volume
            for volume in self._volumes.all()
            if _matches(volume, filters)
            and filters.matches("name", volume.name)
            and filters.exact("driver", "local")
            and (dangling is None or dangling != bool(self._containers.users_of_volume(volume.name)))
        ]
        return json({"Volumes": [self._shape(volume) for volume in selected], "Warnings": None})

    async def create(self, call: Call) -> web.StreamResponse:
        request = await bodies.read(call, VolumeCreateRequest)
        if request.cluster_volume_spec is not None:
            raise Unavailable("This node is not a swarm manager: swarm mode is not part of netd")
        volume = await self._volumes.create(
            request.name, driver=request.driver, labels=request.labels, options=request.driver_opts
        )
        return json(self._shape(volume), 201)

    async def inspect(self, call: Call) -> web.StreamResponse:
        return json(self._shape(self._volumes.find(call.params["name"])))

    async def remove(self, call: Call) -> web.StreamResponse:
        name = call.params["name"]
        try:
            self._volumes.find(name)
        except NotFound:
            if call.flag("force"):
                return empty()
            raise
        await self._volumes.remove(name, partial(self._containers.ids_with_volume, name))
        return empty()

    async def update(self, _: Call) -> web.StreamResponse:
        raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")

    async def prune(self, call: Call) -> web.StreamResponse:
        filters = call.filters(PRUNE_KEYS)
        everything = bool(filters.flag("all")) or call.version < _PRUNE_ANONYMOUS_ONLY
        selected = [
            volume.name
            for volume in self._volumes.all()
            if (volume.anonymous or everything) and _matches(volume, filters)
        ]

        async def work(deleted: Deleted) -> dict[str, Any]:
            removed, freed = [], 0
            for name in selected:
                users = partial(self._containers.ids_with_volume, name)
                if users():
                    continue
                try:
                    size = await asyncio.to_thread(self._volumes.size, name)
                    await self._volumes.remove(name, users)
                except (Conflict, NotFound):
                    continue  # it is used, or was removed, since the list was made
                freed += size
                removed.append(name)
                await deleted(name)
            self._volumes.publish_prune(freed)
            return {"VolumesDeleted": removed or None, "SpaceReclaimed": freed}

        return await respond(call, work)

    def _shape(self, volume: VolumeRecord) -> dict[str, Any]:
        return {
            "CreatedAt": volume.created,
            "Driver": "local",
            "Labels": volume.labels or None,
            "Mountpoint": str(self._volumes.folder(volume.name)),
            "Name": volume.name,
            "Options": volume.options or None,
            "Scope": "local",
        }


def _matches(volume: VolumeRecord, filters: Filters) -> bool:
    return filters.selects_labels(volume.labels or {})
