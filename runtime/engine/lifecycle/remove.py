"""Takes a container that has no process away: its record, its folder, its anonymous volumes."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from netd.common import folders
from netd.common.errors import NoSpace, Problem
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.network.static_addresses import StaticAddresses
from runtime.paths import Paths
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.volumes import Volumes

_log = logging.getLogger(__name__)


class Remover:
    def __init__(
        self,
        containers: Containers,
        volumes: Volumes,
        paths: Paths,
        deferred_delete: DeferredDelete,
        static_addresses: StaticAddresses,
    ) -> None:
        self._containers = containers
        self._static_addresses = static_addresses
        self._volumes = volumes
        self._paths = paths
        self._deferred_delete = deferred_delete

    async def remove(self, container: Container, *, volumes: bool) -> None:
        """Forget the container; the caller holds its lock.  With *volumes*, its anonymous ones go too."""
        before = container.record.state
        self._containers.show_state(container, msgspec.structs.replace(before, status="removing"))
        try:
            await self._forget(container)
        except Problem:
            self._containers.show_state(container, before)
            raise
        await self._static_addresses.forget(container)
        self._throw_folder(container)
        if volumes:
            await self._remove_anonymous(container)
        self._containers.tell(container, "destroy")
        container.dismiss_viewers()
        container.ended.wake(container.code)
        container.removed.wake(container.code)

    def _throw_folder(self, container: Container) -> None:
        try:
            self._deferred_delete.throw(self._paths.container(container.id).folder)
        except OSError as error:
            # The container is forgotten by now, and the next start throws away what belongs to none.
            _log.warning("folder stays until the next start: container=%s error=%s", container.id[:12], error)

    async def _forget(self, container: Container) -> None:
        try:
            await self._containers.forget(container)
        except NoSpace:
            # On a full disk even forgetting needs some room: what the container wrote makes it.
            self._deferred_delete.throw(self._paths.container(container.id).folder)
            await self._deferred_delete.settle()
            await self._containers.forget(container)

    async def _remove_anonymous(self, container: Container) -> None:
        for point in container.record.mounts:
            name = point.name
            if not self._volumes.exists(name) or not self._volumes.find(name).anonymous:
                continue
            if self._containers.users_of_volume(name):
                continue
            try:
                await self._volumes.remove(name)
            except Problem as problem:
                _log.warning("volume stays: volume=%s error=%s", name, problem.message)

    def sweep(self) -> None:
        """Throw away the folders of containers that there are no records of."""
        folder: Path = self._paths.containers
        folders.make(folder, folders.CLOSED)
        self._deferred_delete.sweep(folder, self._containers.get)
