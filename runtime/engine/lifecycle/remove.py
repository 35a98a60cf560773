"""Takes a container that has no process away: its record, its folder, its anonymous volumes."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from netd.common import folders
from netd.common.errors import NoSpace, Problem
from runtime.engine.containers.container import Live
from runtime.engine.containers.containers import Fleet
from runtime.engine.network.static_addresses import Declared
from runtime.paths import Paths
from runtime.storage.deferred_delete import Trash
from runtime.storage.volumes import Volumes

_log = logging.getLogger(__name__)


class Remover:
    def __init__(self, fleet: Fleet, volumes: Volumes, paths: Paths, trash: Trash, declared: Declared) -> None:
        self._fleet = fleet
        self._declared = declared
        self._volumes = volumes
        self._paths = paths
        self._trash = trash

    async def remove(self, live: Live, *, volumes: bool) -> None:
        """Forget the container; the caller holds its lock.  With *volumes*, its anonymous ones go too."""
        before = live.record.state
        self._fleet.show_state(live, msgspec.structs.replace(before, status="removing"))
        try:
            await self._forget(live)
        except Problem:
            self._fleet.show_state(live, before)
            raise
        await self._declared.forget(live)
        self._throw_folder(live)
        if volumes:
            await self._remove_anonymous(live)
        self._fleet.tell(live, "destroy")
        live.dismiss_viewers()
        live.ended.wake(live.code)
        live.removed.wake(live.code)

    def _throw_folder(self, live: Live) -> None:
        try:
            self._trash.throw(self._paths.container(live.id).folder)
        except OSError as error:
            # The container is forgotten by now, and the next start throws away what belongs to none.
            _log.warning("folder stays until the next start: container=%s error=%s", live.id[:12], error)

    async def _forget(self, live: Live) -> None:
        try:
            await self._fleet.forget(live)
        except NoSpace:
            # On a full disk even forgetting needs some room: what the container wrote makes it.
            self._trash.throw(self._paths.container(live.id).folder)
            await self._trash.settle()
            await self._fleet.forget(live)

    async def _remove_anonymous(self, live: Live) -> None:
        for point in live.record.mounts:
            name = point.name
            if not self._volumes.exists(name) or not self._volumes.find(name).anonymous:
                continue
            if self._fleet.users_of_volume(name):
                continue
            try:
                await self._volumes.remove(name)
            except Problem as problem:
                _log.warning("volume stays: volume=%s error=%s", name, problem.message)

    def sweep(self) -> None:
        """Throw away the folders of containers that there are no records of."""
        folder: Path = self._paths.containers
        folders.make(folder, folders.CLOSED)
        self._trash.sweep(folder, self._fleet.get)
