"""All containers: found by name or id, changed only here, and each change written to the store.

It starts and stops nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import msgspec

from netd.common.errors import BadRequest, Conflict, NotFound, Problem
from netd.common.events import Bus, event
from netd.common.store.store import Drop, Put, Store
from netd.common.tasks import Tasks
from runtime.engine.containers.container import Container
from runtime.engine.containers.names import free_name
from runtime.engine.containers.record_copies import RecordCopies
from runtime.record import ContainerRecord, State

_KIND = "container"
_log = logging.getLogger(__name__)


class Containers:
    def __init__(self, store: Store, bus: Bus, copies: RecordCopies, tasks: Tasks | None = None) -> None:
        self._copies = copies
        self._tasks = tasks or Tasks()
        self._store = store
        self._bus = bus
        self._containers: dict[str, Container] = {}
        self._names: dict[str, str] = {}
        self._random = random.Random()
        self._writing: set[asyncio.Task[None]] = set()

    def load(self) -> list[Container]:
        """Read every container; none of them has a process yet."""
        for record in self._store.load(_KIND, ContainerRecord).values():
            self._containers[record.id] = Container(record)
            self._names[record.name] = record.id
        return self.all()

    async def restore(self) -> None:
        """Take the containers up whose records the store has lost and whose folders have a copy."""
        for found in await asyncio.to_thread(list, self._copies.read_missing(self._containers)):
            name = f"{found.name}-{found.short_id}" if found.name in self._names else found.name
            record = msgspec.structs.replace(found, name=name)
            self._names[record.name] = record.id
            await self.add(record)
            _log.warning("container restored from its folder: container=%s name=%s", record.short_id, record.name)

    # Questions

    @property
    def may_lack_records(self) -> bool:
        """There may be containers that are not known here: the store was damaged."""
        return bool(self._store.incidents)

    def all(self) -> list[Container]:
        return list(self._containers.values())

    def get(self, identifier: str) -> Container | None:
        return self._containers.get(identifier)

    def find(self, text: str) -> Container:
        """Return the container of an id, a name, or the beginning of one id.  Raises NotFound in Docker's words."""
        name = text.removeprefix("/")
        if found := self._containers.get(text) or self._containers.get(self._names.get(name, "")):
            return found
        matching = [one for key, one in self._containers.items() if text and key.startswith(text)]
        if len(matching) > 1:
            raise BadRequest(f"multiple IDs found with provided prefix: {text}")
        if not matching:
            raise NotFound(f"No such container: {text}")
        return matching[0]

    def users_of_image(self, image: str) -> list[Container]:
        return [container for container in self._containers.values() if container.record.image == image]

    def users_of_volume(self, volume: str) -> list[Container]:
        return [
            container
            for container in self._containers.values()
            if any(m.name == volume for m in container.record.mounts)
        ]

    def free_name(self) -> str:
        return free_name(self._names, self._random)

    # Changes

    def reserve(self, name: str, identifier: str) -> None:
        """Take a name before anything else is done with it.  Raises Conflict when somebody has it."""
        if holder := self._names.get(name):
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder}". You have to remove'
                " (or rename) that container to be able to reuse that name."
            )
        self._names[name] = identifier

    def release(self, name: str) -> None:
        self._names.pop(name, None)

    async def add(self, record: ContainerRecord) -> Container:
        """Keep a new container, whose name is reserved."""
        await asyncio.to_thread(self._copies.write, record)
        await self._store.write(Put(_KIND, record.id, record))
        container = self._containers[record.id] = Container(record)
        return container

    async def change(self, container: Container, **fields: Any) -> None:
        """Give the record new values; they are taken back when they cannot be written."""
        before = container.record
        container.record = msgspec.structs.replace(before, **fields)
        if container.id not in self._containers:
            return
        try:
            await self._store.write(Put(_KIND, container.id, container.record))
        except Problem:
            old = {name: getattr(before, name) for name in fields}
            container.record = msgspec.structs.replace(container.record, **old)
            raise
        await asyncio.to_thread(self._copies.write, container.record)

    def note(self, container: Container, **fields: Any) -> None:
        """Give the record values that tell what the kernel has already done.

        They hold even when they cannot be written, and nobody waits for that: a restarted daemon finds them out again.
        """
        container.record = msgspec.structs.replace(container.record, **fields)
        job = self._tasks.start(self._write_noted(container), f"note {container.id[:12]}")
        self._writing.add(job)
        job.add_done_callback(self._writing.discard)

    def note_state(self, container: Container, **fields: Any) -> None:
        self.note(container, state=msgspec.structs.replace(container.record.state, **fields))

    async def _write_noted(self, container: Container) -> None:
        if container.id not in self._containers:
            return
        try:
            await self._store.write(Put(_KIND, container.id, container.record), durable=False)
        except Problem as problem:
            _log.warning("state not recorded: container=%s error=%s", container.id[:12], problem.message)

    async def settle(self) -> None:
        """Return when all that was noted so far is written."""
        if self._writing:
            await asyncio.wait(set(self._writing))

    def show_state(self, container: Container, state: State) -> None:
        """Show a state that is not worth keeping: it ends with this process."""
        container.record = msgspec.structs.replace(container.record, state=state)

    async def rename(self, container: Container, name: str) -> None:
        old = container.record.name
        self.reserve(name, container.id)
        try:
            await self.change(container, name=name)
        except BaseException:
            self.release(name)
            raise
        self.release(old)

    async def forget(self, container: Container) -> None:
        """Drop the container; it is back when that cannot be written."""
        del self._containers[container.id]
        try:
            await self._store.write(Drop(_KIND, container.id))
        except Problem:
            self._containers[container.id] = container
            raise
        self.release(container.record.name)

    def tell(self, container: Container, action: str, **attributes: str) -> None:
        """Publish an event of the container."""
        record = container.record
        known = {"image": record.config.image, "name": record.name, **(record.config.labels or {})}
        happened = event("container", action, record.id, {**known, **attributes})
        self._bus.publish(msgspec.structs.replace(happened, status=action, id=record.id, origin=record.config.image))
