"""Routes of containers: create, list, inspect, top, prune, publish and unpublish ports."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from netd.api import PortsRequest
from netd.common.errors import BadRequest, Conflict, Problem
from netd.common.http.deletion_stream import Deleted, respond
from netd.common.http.web import Call, HttpRoute, Version, json
from runtime import platforms
from runtime.api import bodies, shapes, versions
from runtime.container_config import CreateRequest
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.control import Control
from runtime.engine.lifecycle.create import Creator
from runtime.engine.lifecycle.execs import Execs
from runtime.engine.network.publishing import PortPublisher
from runtime.engine.options import links
from runtime.engine.views import listing
from runtime.engine.views import top as process_list
from runtime.images import compatibility
from runtime.images.image_store import Images
from runtime.paths import Paths
from runtime.shim_client.supervisor import Supervisor
from runtime.storage.drivers.selection import StorageDrivers


class ContainerRoutes:
    def __init__(
        self,
        containers: Containers,
        creator: Creator,
        control: Control,
        execs: Execs,
        images: Images,
        *,
        ports: PortPublisher,
        paths: Paths,
        supervisor: Supervisor,
        drivers: StorageDrivers,
    ) -> None:
        self._drivers = drivers
        self._containers = containers
        self._creator = creator
        self._control = control
        self._execs = execs
        self._images = images
        self._ports = ports
        self._paths = paths
        self._supervisor = supervisor

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("POST", "/containers/create", self.create),
            HttpRoute("POST", "/containers/prune", self.prune),
            HttpRoute("GET", "/containers/json", self.list),
            HttpRoute("GET", "/containers/{name:path}/json", self.inspect),
            HttpRoute("GET", "/containers/{name:path}/top", self.top),
            HttpRoute("POST", "/netd/v1/containers/{name:path}/ports", self.publish),
            HttpRoute("DELETE", "/netd/v1/containers/{name:path}/ports", self.unpublish),
        ]

    async def create(self, call: Call) -> web.StreamResponse:
        body = await call.body(dict[str, Any], CreateRequest)
        if not body:
            raise BadRequest("config cannot be empty in order to create a container")
        request = bodies.convert(body, CreateRequest)
        _check_version(request, call.version)
        if call.version < versions.UMASK_SINCE and request.host_config is not None:
            request = replace(request, host_config=replace(request.host_config, umask=None))
        noticed = self._check_platform(request.image, call.text("platform"))
        container, warnings = await self._creator.create(request, call.text("name"))
        warnings = [*noticed, *warnings, *await self._ports.warnings(container), *await self._ports.dropped(container)]
        return json({"Id": container.id, "Warnings": warnings}, 201)

    def _check_platform(self, name: str, text: str) -> list[str]:
        """Return Docker's warning about an image for another machine.

        Raises NotFound, upon which clients pull, if the image is not for the platform *text*.
        """
        wanted = compatibility.requested(text)
        if wanted is not None and wanted.os != "linux":
            compatibility.check(wanted, name, wanted)
        if not name or (image := self._images.search(name)) is None:
            return []
        found, here = compatibility.platform_of(image), compatibility.host()
        if wanted is not None:
            compatibility.check(found, name, wanted)
        if wanted is not None or platforms.best([found], here) is not None:
            return []
        return [
            f"The requested image's platform ({found}) does not match the detected host platform ({here}) and no"
            " specific platform was requested"
        ]

    async def list(self, call: Call) -> web.StreamResponse:
        filters = call.filters(listing.KEYS)
        selected = listing.select(
            self._containers, self._images, filters, all_=call.flag("all"), limit=call.number("limit", 0)
        )
        link_names = self._containers.link_names()
        rows = [
            shapes.row(
                container.record,
                self._images.names_of(container.record.image),
                container.health,
                link_names.get(container.id, ()),
            )
            for container in selected
        ]
        if call.version < versions.ANNOTATIONS_SINCE:
            for row in rows:
                row["HostConfig"].pop("Annotations", None)
        if call.flag("size"):
            for container, row in zip(selected, rows, strict=True):
                sizes = await self._sizes(container)
                row.update({key: size for key, size in sizes.items() if size})
        return json(rows)

    async def inspect(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        shape = shapes.inspect(
            container.record,
            self._paths,
            self._execs.running_in(container),
            container.health,
            call.version,
            driver=self._drivers.of(container.record.driver),
        )
        names = [(link.target_name, link.alias) for link in self._containers.links(container)]
        shape["HostConfig"]["Links"] = links.shown(container.record.name, names) if names else None
        if call.flag("size"):
            shape.update(await self._sizes(container))
        return json(shape)

    async def _sizes(self, container: Container) -> dict[str, int]:
        written = await asyncio.to_thread(self._drivers.size, self._paths, container.record)
        image = self._images.by_id(container.record.image)
        return {"SizeRw": written, "SizeRootFs": written + (image.size if image else 0)}

    async def publish(self, call: Call) -> web.StreamResponse:
        """Publish further ports; the response holds all published ports, as inspect does."""
        request = await bodies.read(call, PortsRequest)
        container = self._containers.find(call.params["name"])
        await self._ports.publish(container, request.port_bindings or {})
        return json(_published(container))

    async def unpublish(self, call: Call) -> web.StreamResponse:
        request = await bodies.read(call, PortsRequest)
        container = self._containers.find(call.params["name"])
        await self._ports.unpublish(container, request.port_bindings or {})
        return json(_published(container))

    async def prune(self, call: Call) -> web.StreamResponse:
        unused = list(listing.prunable(self._containers, call.filters(listing.PRUNE_KEYS)))

        async def work(deleted: Deleted) -> dict[str, Any]:
            removed, freed = [], 0
            for container in unused:
                size = (await self._sizes(container))["SizeRw"]
                try:
                    await self._control.remove(container)
                except Problem:
                    continue
                removed.append(container.id)
                freed += size
                await deleted(container.id)
            self._containers.publish_prune(freed)
            return {"ContainersDeleted": removed or None, "SpaceReclaimed": freed}

        return await respond(call, work)

    async def top(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        container.check_not_restarting()
        if container.running is None:
            raise Conflict(f"container {container.id} is not running")
        self._containers.publish_event(container, "top")
        titles, rows = process_list.table(self._supervisor.pids(container.id), call.text("ps_args", "-ef"))
        return json({"Titles": titles, "Processes": rows})


def _published(container: Container) -> dict[str, Any]:
    record = container.record
    return {"Ports": shapes.ports(record.network.ports) if record.network else {}}


def _check_version(request: CreateRequest, version: Version) -> None:
    """Raise BadRequest for what clients of *version* cannot ask for."""
    endpoints = (request.networking_config and request.networking_config.endpoints_config) or {}
    if version < versions.SEVERAL_ENDPOINTS_SINCE and len(endpoints) > 1:
        raise BadRequest(f"Container cannot be connected to network endpoints: {', '.join(sorted(endpoints))}")
    if version >= versions.USAGE_SINCE and request.mac_address:
        raise BadRequest(
            "the container-wide MacAddress is not supported since API version 1.52: set MacAddress of an endpoint"
        )
