"""One container in this process: its record, its process, and who waits for it.

Changes go through :mod:`runtime.engine.containers.containers`, which writes them to the store; ``lock`` makes
starting, ending and removing follow one another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from netd.common.errors import Conflict
from runtime.engine.containers.health_state import Health
from runtime.record import ContainerRecord
from runtime.shim_client.supervisor import Attachment, Running


@dataclass(slots=True)
class Waiters:
    """Futures that all get one exit code, and then make room for the next."""

    futures: list[asyncio.Future[int]] = field(default_factory=list)

    def add(self) -> asyncio.Future[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: asyncio.Future[int]) -> None:
        """Drop a future that was cancelled, because its client has left."""
        if future.cancelled() and future in self.futures:
            self.futures.remove(future)

    def wake(self, code: int) -> None:
        waiting, self.futures = self.futures, []
        for future in waiting:
            if not future.done():
                future.set_result(code)


@dataclass(slots=True)
class Viewer:
    """A client that attached before there was a process: told of the streams when the next one is made."""

    connect: Callable[[Running], Awaitable[Attachment]]
    ready: asyncio.Future[Attachment | None]
    """None when the container went away without one; cancelled when the client did."""

    async def give(self, running: Running) -> None:
        try:
            streams = await self.connect(running)
        except ProcessLookupError:
            streams = None
        if not self.ready.done():
            self.ready.set_result(streams)
        elif streams is not None:
            await streams.close()


@dataclass(slots=True, eq=False)
class Container:
    record: ContainerRecord
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    running: Running | None = None
    netns: str | None = None
    """The path of its network namespace while it runs; None in the host's."""
    hosts: str = ""
    """What we last wrote to its hosts file."""
    ended: Waiters = field(default_factory=Waiters)
    removed: Waiters = field(default_factory=Waiters)
    viewers: list[Viewer] = field(default_factory=list)
    restart: asyncio.Task[None] | None = None
    """Waits to start it again."""
    restarting_by_hand: bool = False
    """Somebody stops it only to start it again: neither restart policy nor automatic removal apply."""
    health: Health | None = None
    delay: float = 0.0
    """Seconds that its latest restart was put off."""
    execs: set[str] = field(default_factory=set)
    """Ids of the execs that have not ended."""
    ended_execs: deque[str] = field(default_factory=deque)
    """Ids of those that have, oldest first."""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def code(self) -> int:
        return self.record.state.exit_code

    def refuse_restarting(self) -> None:
        """Raise Conflict for what needs a process while the container waits for its next one."""
        if self.record.state.status == "restarting":
            raise Conflict(f"Container {self.id} is restarting, wait until the container is running")

    async def connect_viewers(self, running: Running) -> None:
        """Give everyone who waits for the streams theirs: first while the program is still held back."""
        waiting, self.viewers = self.viewers, []
        for viewer in waiting:
            if not viewer.ready.done():
                await viewer.give(running)

    def dismiss_viewers(self) -> None:
        """End the wait of everyone whose container is gone."""
        waiting, self.viewers = self.viewers, []
        for viewer in waiting:
            if not viewer.ready.done():
                viewer.ready.set_result(None)
