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
from runtime.engine.containers.container import Live
from runtime.engine.containers.names import free_name
from runtime.engine.containers.record_copies import RecordCopies
from runtime.record import ContainerRecord, State

_KIND = "container"
_log = logging.getLogger(__name__)


class Fleet:
    def __init__(self, store: Store, bus: Bus, copies: RecordCopies, tasks: Tasks | None = None) -> None:
        self._copies = copies
        self._tasks = tasks or Tasks()
        self._store = store
        self._bus = bus
        self._containers: dict[str, Live] = {}
        self._names: dict[str, str] = {}
        self._random = random.Random()
        self._writing: set[asyncio.Task[None]] = set()

    def load(self) -> list[Live]:
        """Read every container; none of them has a process yet."""
        for record in self._store.load(_KIND, ContainerRecord).values():
            self._containers[record.id] = Live(record)
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

    def all(self) -> list[Live]:
        return list(self._containers.values())

    def get(self, identifier: str) -> Live | None:
        return self._containers.get(identifier)

    def find(self, text: str) -> Live:
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

    def users_of_image(self, image: str) -> list[Live]:
        return [live for live in self._containers.values() if live.record.image == image]

    def users_of_volume(self, volume: str) -> list[Live]:
        return [live for live in self._containers.values() if any(m.name == volume for m in live.record.mounts)]

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

    async def add(self, record: ContainerRecord) -> Live:
        """Keep a new container, whose name is reserved."""
        await asyncio.to_thread(self._copies.write, record)
        await self._store.write(Put(_KIND, record.id, record))
        live = self._containers[record.id] = Live(record)
        return live

    async def change(self, live: Live, **fields: Any) -> None:
        """Give the record new values; they are taken back when they cannot be written."""
        before = live.record
        live.record = msgspec.structs.replace(before, **fields)
        if live.id not in self._containers:
            return
        try:
            await self._store.write(Put(_KIND, live.id, live.record))
        except Problem:
            old = {name: getattr(before, name) for name in fields}
            live.record = msgspec.structs.replace(live.record, **old)
            raise
        await asyncio.to_thread(self._copies.write, live.record)

    def note(self, live: Live, **fields: Any) -> None:
        """Give the record values that tell what the kernel has already done.

        They hold even when they cannot be written, and nobody waits for that: a restarted daemon finds them out again.
        """
        live.record = msgspec.structs.replace(live.record, **fields)
        job = self._tasks.start(self._write_noted(live), f"note {live.id[:12]}")
        self._writing.add(job)
        job.add_done_callback(self._writing.discard)

    def note_state(self, live: Live, **fields: Any) -> None:
        self.note(live, state=msgspec.structs.replace(live.record.state, **fields))

    async def _write_noted(self, live: Live) -> None:
        if live.id not in self._containers:
            return
        try:
            await self._store.write(Put(_KIND, live.id, live.record), durable=False)
        except Problem as problem:
            _log.warning("state not recorded: container=%s error=%s", live.id[:12], problem.message)

    async def settle(self) -> None:
        """Return when all that was noted so far is written."""
        if self._writing:
            await asyncio.wait(set(self._writing))

    def show_state(self, live: Live, state: State) -> None:
        """Show a state that is not worth keeping: it ends with this process."""
        live.record = msgspec.structs.replace(live.record, state=state)

    async def rename(self, live: Live, name: str) -> None:
        old = live.record.name
        self.reserve(name, live.id)
        try:
            await self.change(live, name=name)
        except BaseException:
            self.release(name)
            raise
        self.release(old)

    async def forget(self, live: Live) -> None:
        """Drop the container; it is back when that cannot be written."""
        del self._containers[live.id]
        try:
            await self._store.write(Drop(_KIND, live.id))
        except Problem:
            self._containers[live.id] = live
            raise
        self.release(live.record.name)

    def tell(self, live: Live, action: str, **attributes: str) -> None:
        """Publish an event of the container."""
        record = live.record
        known = {"image": record.config.image, "name": record.name, **(record.config.labels or {})}
        happened = event("container", action, record.id, {**known, **attributes})
        self._bus.publish(msgspec.structs.replace(happened, status=action, id=record.id, origin=record.config.image))
