"""Removes a container that has no process: its record, its folder, its anonymous volumes."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import msgspec

from netd.common import folders
from netd.common.errors import NoSpace, Problem
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.network.static_addresses import StaticAddresses
from runtime.images.image_store import Images
from runtime.paths import Paths
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.drivers.selection import StorageDrivers
from runtime.storage.volumes import Volumes

_log = logging.getLogger(__name__)


class ContainerRemoval:
    def __init__(
        self,
        containers: Containers,
        volumes: Volumes,
        paths: Paths,
        deferred_delete: DeferredDelete,
        static_addresses: StaticAddresses,
        drivers: StorageDrivers,
        images: Images,
    ) -> None:
        self._images = images
        self._drivers = drivers
        self._containers = containers
        self._static_addresses = static_addresses
        self._volumes = volumes
        self._paths = paths
        self._deferred_delete = deferred_delete

    async def remove(self, container: Container, *, volumes: bool) -> None:
        """Remove the container, and with *volumes* its anonymous volumes; the caller holds its lock."""
        before = container.record.state
        self._containers.set_transient_state(container, msgspec.structs.replace(before, status="removing"))
        try:
            await self._delete_record(container)
        except Problem:
            self._containers.set_transient_state(container, before)
            raise
        await self._static_addresses.release(container)
        self._delete_folder(container)
        if volumes:
            await self._remove_anonymous(container)
        if self._images.by_id(container.record.image) is None:
            await self._images.drop_unused(container.record.layers)
        self._containers.publish_event(container, "destroy")
        container.end_pending_attachments()
        container.exit_waiters.complete(container.exit_code)
        container.removal_waiters.complete(container.exit_code)

    def _delete_folder(self, container: Container) -> None:
        try:
            self._discard(container)
        except OSError as error:
            # The record is deleted by now, and the next start deletes folders without a record.
            _log.warning("folder not deleted until the next start: container=%s error=%s", container.id[:12], error)

    def _discard(self, container: Container) -> None:
        destroy = self._drivers.of(container.record.driver).destroy
        self._deferred_delete.discard(self._paths.container(container.id).folder, destroy)

    async def _delete_record(self, container: Container) -> None:
        try:
            await self._containers.delete(container)
        except NoSpace:
            # On a full disk even a deletion from the store needs space: deleting the container's folder frees it.
            self._discard(container)
            await self._deferred_delete.wait()
            await self._containers.delete(container)

    async def _remove_anonymous(self, container: Container) -> None:
        for point in container.record.mounts:
            name = point.name
            if point.type != "volume" or not self._volumes.exists(name) or not self._volumes.find(name).anonymous:
                continue
            users = partial(self._containers.ids_with_volume, name)
            if users():
                continue
            try:
                await self._volumes.remove(name, users)
            except Problem as problem:
                _log.warning("volume not removed: volume=%s error=%s", name, problem.message)

    def sweep(self) -> None:
        """Delete the folders of containers that have no record."""
        folder: Path = self._paths.containers
        folders.make(folder, folders.CLOSED)
        self._deferred_delete.sweep(folder, self._containers.get)
