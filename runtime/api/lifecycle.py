"""Routes that change one container: start, stop, restart, kill, pause, unpause, rename, update, remove."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from netd.common.http.web import Call, HttpRoute, empty, json
from runtime.api import bodies
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.control import Control
from runtime.engine.lifecycle.lifecycle import Lifecycle
from runtime.engine.lifecycle.update import Updater
from runtime.engine.options.updates import UpdateRequest


class LifecycleRoutes:
    def __init__(self, containers: Containers, lifecycle: Lifecycle, control: Control, updater: Updater) -> None:
        self._containers = containers
        self._lifecycle = lifecycle
        self._control = control
        self._updater = updater

    def routes(self) -> Sequence[HttpRoute]:
        verbs = {
            "start": self.start,
            "stop": self.stop,
            "restart": self.restart,
            "kill": self.kill,
            "pause": self.pause,
            "unpause": self.unpause,
            "rename": self.rename,
            "update": self.update,
        }
        return [
            *(HttpRoute("POST", f"/containers/{{name:path}}/{verb}", handler) for verb, handler in verbs.items()),
            HttpRoute("DELETE", "/containers/{name:path}", self.remove),
        ]

    async def start(self, call: Call) -> web.StreamResponse:
        await self._lifecycle.start(self._containers.find(call.params["name"]))
        return empty()

    async def stop(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        await self._control.stop(container, signal=call.text("signal"), seconds=_seconds(call))
        return empty()

    async def restart(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        await self._control.restart(container, signal=call.text("signal"), seconds=_seconds(call))
        return empty()

    async def kill(self, call: Call) -> web.StreamResponse:
        await self._control.kill(self._containers.find(call.params["name"]), call.text("signal"))
        return empty()

    async def pause(self, call: Call) -> web.StreamResponse:
        await self._control.pause(self._containers.find(call.params["name"]))
        return empty()

    async def unpause(self, call: Call) -> web.StreamResponse:
        await self._control.unpause(self._containers.find(call.params["name"]))
        return empty()

    async def rename(self, call: Call) -> web.StreamResponse:
        await self._control.rename(self._containers.find(call.params["name"]), call.text("name"))
        return empty()

    async def update(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        warnings = await self._updater.update(container, await bodies.read(call, UpdateRequest))
        return json({"Warnings": warnings or None})

    async def remove(self, call: Call) -> web.StreamResponse:
        if call.flag("link"):
            await self._control.remove_link(call.params["name"])
            return empty()
        container = self._containers.find(call.params["name"])
        await self._control.remove(container, force=call.flag("force"), volumes=call.flag("v"))
        return empty()


def _seconds(call: Call) -> int | None:
    return call.number("t", 0) if call.text("t") else None
