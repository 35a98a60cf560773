"""The table of containers: lookup by name or id, and updates of records, which are written to the store.

This module does not start or stop processes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import Any, NamedTuple

import msgspec

from netd.common.errors import BadRequest, Conflict, NotFound, Problem
from netd.common.events import Bus, event
from netd.common.ids import short
from netd.common.store.store import Drop, Put, Store
from netd.common.tasks import Tasks
from runtime.container_config import legacy_links
from runtime.engine.containers.container import Container
from runtime.engine.containers.names import free_name
from runtime.engine.containers.record_copies import RecordCopies
from runtime.record import ContainerRecord, State

_KIND = "container"
_log = logging.getLogger(__name__)


class Link(NamedTuple):
    """A link to a container on the default network."""

    alias: str
    target_id: str
    target: Container | None
    """None if the target was removed."""

    @property
    def target_name(self) -> str:
        return self.target.record.name if self.target else short(self.target_id)


class Containers:
    def __init__(self, store: Store, bus: Bus, copies: RecordCopies, tasks: Tasks | None = None) -> None:
        self._copies = copies
        self._tasks = tasks or Tasks()
        self._store = store
        self._bus = bus
        self._containers: dict[str, Container] = {}
        self._names: dict[str, str] = {}
        self._random = random.Random()
        self._pending_writes: set[asyncio.Task[None]] = set()
        self._pending_copies: set[str] = set()
        """Ids of the containers whose copies will be written by a job that has not begun."""
        self._copying = asyncio.Lock()
        """Copies are written in order."""

    def load(self) -> list[Container]:
        """Read all records from the store, and return the containers, without processes."""
        for record in self._store.load(_KIND, ContainerRecord).values():
            self._containers[record.id] = Container(record)
            self._names[record.name] = record.id
        return self.all()

    async def restore(self) -> None:
        """Restore the containers whose records the store has lost, from the copies in their folders."""
        for copy in await asyncio.to_thread(list, self._copies.read_missing(self._containers)):
            name = f"{copy.name}-{copy.short_id}" if copy.name in self._names else copy.name
            record = msgspec.structs.replace(copy, name=name)
            self._names[record.name] = record.id
            await self.add(record)
            _log.warning("container restored from its folder: container=%s name=%s", record.short_id, record.name)

    # Lookup

    @property
    def records_may_be_missing(self) -> bool:
        """Whether containers may exist that have no record, because the store was damaged."""
        return bool(self._store.incidents)

    def all(self) -> list[Container]:
        return list(self._containers.values())

    def get(self, identifier: str) -> Container | None:
        return self._containers.get(identifier)

    def find(self, text: str) -> Container:
        """Return the container with the id, name or unique id prefix *text*.  Raises NotFound with Docker's message."""
        name = text.removeprefix("/")
        if "/" in name:
            return self.find_link(name)[1]
        if container := self._containers.get(text) or self._containers.get(self._names.get(name, "")):
            return container
        matching = [container for key, container in self._containers.items() if text and key.startswith(text)]
        if len(matching) > 1:
            raise BadRequest(f"multiple IDs found with provided prefix: {text}")
        if not matching:
            raise NotFound(f"No such container: {text}")
        return matching[0]

    def links(self, container: Container) -> list[Link]:
        """Return the container's links to containers."""
        found = legacy_links(container.record.host)
        return [Link(alias, target, self._find_or_none(target)) for target, alias in found]

    def link_names(self) -> dict[str, list[str]]:
        """Return by container id the names that the links of other containers give it, such as ``/app/db``."""
        names: dict[str, list[str]] = {}
        for owner in self._containers.values():
            for link in self.links(owner):
                if link.target is not None:
                    names.setdefault(link.target.id, []).append(f"/{owner.record.name}/{link.alias}")
        return names

    def find_link(self, text: str) -> tuple[Container, Container, str]:
        """Return (owner, target, alias) of the link ``owner/alias``.  Raises NotFound with Docker's message."""
        name, _, alias = text.removeprefix("/").partition("/")
        owner = self._find_or_none(name)
        targets = (link.target for link in (self.links(owner) if owner else ()) if link.alias == alias)
        target = next(targets, None)
        if owner is None or target is None:
            raise NotFound(f"No such container: {text}")
        return owner, target, alias

    def _find_or_none(self, name: str) -> Container | None:
        return self._containers.get(name) or self._containers.get(self._names.get(name, ""))

    def users_of_image(self, image: str) -> list[Container]:
        """Return the containers that were created from the image, or mount it."""
        return [
            container
            for container in self._containers.values()
            if container.record.image == image
            or any(point.options is not None and point.options.image == image for point in container.record.mounts)
        ]

    def users_of_volume(self, volume: str) -> list[Container]:
        return [
            container
            for container in self._containers.values()
            if any(point.type == "volume" and point.name == volume for point in container.record.mounts)
        ]

    def ids_with_volume(self, volume: str) -> list[str]:
        return [container.id for container in self.users_of_volume(volume)]

    def running_with_volume(self, volume: str) -> list[str]:
        """Return the ids of the containers with a process that use the volume."""
        return [container.id for container in self.users_of_volume(volume) if container.running is not None]

    def free_name(self) -> str:
        return free_name(self._names, self._random)

    # Changes

    def reserve_name(self, name: str, identifier: str) -> None:
        """Reserve a name for the container *identifier*.  Raises Conflict if another container has it."""
        if holder := self._names.get(name):
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder}". You have to remove'
                " (or rename) that container to be able to reuse that name."
            )
        self._names[name] = identifier

    def release_name(self, name: str) -> None:
        self._names.pop(name, None)

    async def add(self, record: ContainerRecord) -> Container:
        """Add a new container, whose name is already reserved."""
        stored = self._store.write(Put(_KIND, record.id, record))
        await asyncio.gather(asyncio.to_thread(self._copies.write, record), stored)
        container = self._containers[record.id] = Container(record)
        return container

    async def update(self, container: Container, *, durable: bool = True, **fields: Any) -> None:
        """Set fields of the record and write it; if that fails, restore the former values and raise the Problem.

        A change that is not *durable* is synced to disk right after the return.
        """
        before = container.record
        container.record = msgspec.structs.replace(before, **fields)
        if container.id not in self._containers:
            return
        try:
            await self._store.write(Put(_KIND, container.id, container.record), durable=durable, sync_after=not durable)
        except Problem:
            old = {name: getattr(before, name) for name in fields}
            container.record = msgspec.structs.replace(container.record, **old)
            raise
        if container.id not in self._pending_copies:
            self._pending_copies.add(container.id)
            self._write_later(self._write_copy(container), f"copy {container.id[:12]}")

    async def _write_copy(self, container: Container) -> None:
        """Write the copy of the record as it is when this job begins; nothing reads the copies of this daemon."""
        self._pending_copies.discard(container.id)
        if container.id in self._containers:
            async with self._copying:
                await asyncio.to_thread(self._copies.write, container.record)

    def update_deferred(self, container: Container, **fields: Any) -> None:
        """Set fields that describe past events, such as a start or an exit, and write the record in the background.

        If the write fails, the values stay: a restarted daemon reads them from the kernel and the shims again.
        """
        container.record = msgspec.structs.replace(container.record, **fields)
        self._write_later(self._write_deferred(container), f"write {container.id[:12]}")

    def _write_later(self, job: Coroutine[Any, Any, None], name: str) -> None:
        task = self._tasks.start(job, name)
        self._pending_writes.add(task)
        task.add_done_callback(self._pending_writes.discard)

    def update_state_deferred(self, container: Container, **fields: Any) -> None:
        self.update_deferred(container, state=msgspec.structs.replace(container.record.state, **fields))

    async def _write_deferred(self, container: Container) -> None:
        if container.id not in self._containers:
            return
        try:
            await self._store.write(Put(_KIND, container.id, container.record), durable=False)
        except Problem as problem:
            _log.warning("state not recorded: container=%s error=%s", container.id[:12], problem.message)

    async def flush(self) -> None:
        """Wait until all deferred updates and copies are written."""
        if self._pending_writes:
            await asyncio.wait(set(self._pending_writes))

    def set_transient_state(self, container: Container, state: State) -> None:
        """Set a state that is not written to the store."""
        container.record = msgspec.structs.replace(container.record, state=state)

    async def rename(self, container: Container, name: str) -> None:
        old = container.record.name
        self.reserve_name(name, container.id)
        try:
            await self.update(container, name=name)
        except BaseException:
            self.release_name(name)
            raise
        self.release_name(old)

    async def delete(self, container: Container) -> None:
        """Delete the record and release the name; if the write fails, keep both and raise the Problem."""
        del self._containers[container.id]
        try:
            await self._store.write(Drop(_KIND, container.id))
        except Problem:
            self._containers[container.id] = container
            raise
        container.removed = True
        self.release_name(container.record.name)

    def publish_prune(self, freed: int) -> None:
        """Publish Docker's event for a prune that freed this many bytes."""
        self._bus.publish(event("container", "prune", "", {"reclaimed": str(freed)}))

    def publish_event(self, container: Container, action: str, **attributes: str) -> None:
        """Publish an event of the container on the event bus."""
        record = container.record
        common = {"image": record.config.image, "name": record.name, **(record.config.labels or {})}
        message = event("container", action, record.id, {**common, **attributes})
        self._bus.publish(msgspec.structs.replace(message, status=action, id=record.id, origin=record.config.image))
