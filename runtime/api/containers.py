"""Containers made, listed, inspected and pruned."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from netd.api import PortsRequest
from netd.common.errors import BadRequest, Conflict, Problem
from netd.common.http.web import Call, Route, json
from runtime.api import bodies, shapes
from runtime.container_config import CreateRequest
from runtime.engine.containers.container import Live
from runtime.engine.containers.containers import Fleet
from runtime.engine.lifecycle.control import Control
from runtime.engine.lifecycle.create import Creator
from runtime.engine.lifecycle.execs import Execs
from runtime.engine.network.publishing import Ports
from runtime.engine.views import listing
from runtime.engine.views import top as process_list
from runtime.images.image_store import Images
from runtime.kernel import tree
from runtime.paths import Paths
from runtime.shim_client.supervisor import Supervisor


class ContainerRoutes:
    def __init__(
        self,
        fleet: Fleet,
        creator: Creator,
        control: Control,
        execs: Execs,
        images: Images,
        *,
        ports: Ports,
        paths: Paths,
        supervisor: Supervisor,
    ) -> None:
        self._fleet = fleet
        self._creator = creator
        self._control = control
        self._execs = execs
        self._images = images
        self._ports = ports
        self._paths = paths
        self._supervisor = supervisor

    def routes(self) -> Sequence[Route]:
        return [
            Route("POST", "/containers/create", self.create),
            Route("POST", "/containers/prune", self.prune),
            Route("GET", "/containers/json", self.list),
            Route("GET", "/containers/{name:path}/json", self.inspect),
            Route("GET", "/containers/{name:path}/top", self.top),
            Route("POST", "/netd/v1/containers/{name:path}/ports", self.publish),
            Route("DELETE", "/netd/v1/containers/{name:path}/ports", self.unpublish),
        ]

    async def create(self, call: Call) -> web.StreamResponse:
        plain = await call.body(dict[str, Any])
        if not plain:
            raise BadRequest("config cannot be empty in order to create a container")
        platform = call.text("platform")
        if platform and not platform.startswith("linux"):
            raise BadRequest(f"the platform {platform} cannot run here: this host runs Linux containers")
        live, warnings = await self._creator.run(bodies.convert(plain, CreateRequest), call.text("name"))
        return json({"Id": live.id, "Warnings": [*warnings, *await self._ports.warnings(live)]}, 201)

    async def list(self, call: Call) -> web.StreamResponse:
        filters = call.filters(listing.KEYS)
        found = listing.chosen(self._fleet, self._images, filters, all_=call.flag("all"), limit=call.number("limit", 0))
        rows = [shapes.row(live.record, self._images.names_of(live.record.image), live.health) for live in found]
        if call.flag("size"):
            for live, row in zip(found, rows, strict=True):
                row.update(await self._sizes(live))
        return json(rows)

    async def inspect(self, call: Call) -> web.StreamResponse:
        live = self._fleet.find(call.params["name"])
        shown = shapes.inspect(live.record, self._paths, self._execs.of(live), live.health, call.version)
        if call.flag("size"):
            shown.update(await self._sizes(live))
        return json(shown)

    async def _sizes(self, live: Live) -> dict[str, int]:
        written = await asyncio.to_thread(tree.size, self._paths.container(live.id).upper)
        image = self._images.by_id(live.record.image)
        return {"SizeRw": written, "SizeRootFs": written + (image.size if image else 0)}

    async def publish(self, call: Call) -> web.StreamResponse:
        """Publish more ports of a container; answers with all that are published then, as inspect shows them."""
        asked = await bodies.read(call, PortsRequest)
        live = self._fleet.find(call.params["name"])
        await self._ports.add(live, asked.port_bindings or {})
        return json(_published(live))

    async def unpublish(self, call: Call) -> web.StreamResponse:
        asked = await bodies.read(call, PortsRequest)
        live = self._fleet.find(call.params["name"])
        await self._ports.remove(live, asked.port_bindings or {})
        return json(_published(live))

    async def prune(self, call: Call) -> web.StreamResponse:
        removed, freed = [], 0
        for live in list(listing.prunable(self._fleet, call.filters(listing.PRUNE_KEYS))):
            size = (await self._sizes(live))["SizeRw"]
            try:
                await self._control.remove(live)
            except Problem:
                continue
            removed.append(live.id)
            freed += size
        return json({"ContainersDeleted": removed or None, "SpaceReclaimed": freed})

    async def top(self, call: Call) -> web.StreamResponse:
        live = self._fleet.find(call.params["name"])
        live.refuse_restarting()
        if live.running is None:
            raise Conflict(f"container {live.id} is not running")
        titles, rows = process_list.table(self._supervisor.pids(live.id), call.text("ps_args", "-ef"))
        return json({"Titles": titles, "Processes": rows})


def _published(live: Live) -> dict[str, Any]:
    record = live.record
    return {"Ports": shapes.ports(record.network.ports) if record.network else {}}
