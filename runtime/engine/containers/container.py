"""In-memory state of one container: its record, its process, and the futures that wait for it.

:mod:`runtime.engine.containers.containers` changes the record and writes it to the store; ``lock`` serializes the
start, exit handling and removal of a container.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from netd.common.errors import Conflict, NotFound
from runtime.engine.containers.health_state import Health
from runtime.record import ContainerRecord
from runtime.shim_client.supervisor import Attachment, Running


@dataclass(slots=True)
class Waiters:
    """Futures that get the exit code of the next exit or removal."""

    futures: list[asyncio.Future[int]] = field(default_factory=list)

    def add(self) -> asyncio.Future[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        future.add_done_callback(self._remove_cancelled)
        return future

    def _remove_cancelled(self, future: asyncio.Future[int]) -> None:
        """Remove a future that was cancelled because its client disconnected."""
        if future.cancelled() and future in self.futures:
            self.futures.remove(future)

    def complete(self, exit_code: int) -> None:
        waiting, self.futures = self.futures, []
        for future in waiting:
            if not future.done():
                future.set_result(exit_code)


@dataclass(slots=True)
class PendingAttachment:
    """A client that attached while the container has no process; it gets the streams of the next process."""

    connect: Callable[[Running], Awaitable[Attachment]]
    ready: asyncio.Future[Attachment | None]
    """None if the container is removed or the process ends first; cancelled if the client disconnects."""

    async def connect_to(self, running: Running) -> None:
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
    """The path of its network namespace while it runs; None in the host's network namespace."""
    offline: bool = False
    """It was started while netd was away, and netd does not have its sandbox."""
    hosts: str = ""
    """The text last written to its hosts file."""
    exit_waiters: Waiters = field(default_factory=Waiters)
    removal_waiters: Waiters = field(default_factory=Waiters)
    pending_attachments: list[PendingAttachment] = field(default_factory=list)
    restart_task: asyncio.Task[None] | None = None
    """Starts the container after the delay of its restart policy."""
    restart_now: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to end the current delay of ``restart_task``."""
    manual_restarts: set[object] = field(default_factory=set)
    """Restart requests under way: until they end, restart policy and automatic removal do not apply.

    A later request that stops the container empties the set, which cancels the restarts.
    """
    removing: bool = False
    """A request is killing and removing the container."""
    exec_starts: int = 0
    """Execs that are being started, which would hang in a frozen control group."""
    transition_waiters: list[asyncio.Future[None]] = field(default_factory=list)
    """Requests that wait until a restart, a removal or the start of an exec has ended."""
    stop_requests: int = 0
    """Requests that wait for the exit to stop or restart the container; each is an event ``stop`` before the exit's."""
    killing: bool = False
    """SIGKILL was sent to the process, which must not be frozen any more."""
    removed: bool = False
    health: Health | None = None
    restart_delay: float = 0.0
    """The delay of the latest restart by policy, in seconds."""
    execs: set[str] = field(default_factory=set)
    """Ids of the execs that are created or running."""
    exited_execs: deque[str] = field(default_factory=deque)
    """Ids of the execs that have exited, oldest first."""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def exit_code(self) -> int:
        return self.record.state.exit_code

    @asynccontextmanager
    async def hold(self, *, restarting: bool = False) -> AsyncIterator[None]:
        """Hold the lock for a change by a request, which must read what it depends on inside the block.

        Waits until a forced removal has ended, and without a process until a restart has ended, so that requests
        never find the states in between; with *restarting*, as the restart itself, only for the removal.  Raises
        NotFound if the container is removed.
        """
        while True:
            async with self.lock:
                if not self.removing and (restarting or self.running is not None or not self.manual_restarts):
                    if self.removed:
                        raise NotFound(f"No such container: {self.id}")
                    yield
                    return
                ended = self.transition()
            await ended

    def transition(self) -> asyncio.Future[None]:
        """Return a future for the next :meth:`end_transition`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transition_waiters.append(waiter)
        return waiter

    def end_transition(self) -> None:
        """Let the requests continue that wait for the end of a restart, a removal or the start of an exec."""
        waiting, self.transition_waiters = self.transition_waiters, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def check_not_restarting(self) -> None:
        """Raise Conflict while the container waits for its restart."""
        if self.record.state.status == "restarting":
            raise Conflict(f"Container {self.id} is restarting, wait until the container is running")

    async def connect_pending_attachments(self, running: Running) -> None:
        """Connect all pending attachments to the streams of *running*.

        Called before the execve of its program, and again after the start for clients that attached meanwhile.
        """
        pending, self.pending_attachments = self.pending_attachments, []
        for attachment in pending:
            if not attachment.ready.done():
                await attachment.connect_to(running)

    def end_pending_attachments(self) -> None:
        """End all pending attachments, because the container is removed."""
        pending, self.pending_attachments = self.pending_attachments, []
        for attachment in pending:
            if not attachment.ready.done():
                attachment.ready.set_result(None)
