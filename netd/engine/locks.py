"""Per-object locks, plus an exclusive lock that waits for all of them."""

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
        self._exclusive = asyncio.Lock()

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold the lock of *key*, granted in order of request; wait while the exclusive lock is requested or held.

        Must not be nested.
        """
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
        """Inside ``hold``, around calls to plugins and IPAM drivers: let the exclusive lock be acquired meanwhile.

        The lock of the key stays held.  The caller must read the state again afterwards.
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
        """Wait until no per-object lock is held, and grant none until the end of the block."""
        async with self._exclusive:
            self._open.clear()
            try:
                await self._idle.wait()
                yield
            finally:
                self._open.set()
