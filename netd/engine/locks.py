"""Who may change things when: one at a time per object, many objects at once, and now and then one all alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Queue:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Locks:
    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = asyncio.Event()
        self._open.set()
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Wait for those who came before for the same *key*, and for whoever is alone.  Not to be nested."""
        while not self._open.is_set():
            await self._open.wait()
        self._running += 1
        self._idle.clear()
        queue = self._queues.setdefault(key, _Queue())
        queue.users += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.users -= 1
            if not queue.users:
                del self._queues[key]
            self._running -= 1
            if not self._running:
                self._idle.set()

    @asynccontextmanager
    async def released(self) -> AsyncIterator[None]:
        """Within a turn, for waiting on somebody outside: whoever is alone does not wait for this.

        What was read before must be looked at again afterwards.
        """
        self._running -= 1
        if not self._running:
            self._idle.set()
        try:
            yield
        finally:
            try:
                while not self._open.is_set():
                    await self._open.wait()
            finally:
                self._running += 1
                self._idle.clear()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Wait until nobody changes anything, and keep it so."""
        async with self._alone:
            self._open.clear()
            try:
                await self._idle.wait()
                yield
            finally:
                self._open.set()
