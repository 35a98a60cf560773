"""Work that is begun by a request and that its answer does not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

from netd.common.tasks import Tasks


class BackgroundJobs:
    """Keeps hold of what is under way until it is done, and of what it is about."""

    def __init__(self, tasks: Tasks | None = None) -> None:
        self._background = tasks or Tasks()
        self._tasks: dict[asyncio.Task[None], frozenset[str]] = {}

    def start(self, job: Coroutine[Any, Any, None], name: str, about: Collection[str] = ()) -> None:
        """Begin *errand*; what becomes of it is only logged."""
        task = self._background.start(job, name)
        self._tasks[task] = frozenset(about)
        task.add_done_callback(self._tasks.pop)

    async def wait_for(self, topics: Collection[str]) -> None:
        """Wait until nothing is under way that is about one of the topics."""
        await asyncio.gather(*(task for task, about in self._tasks.items() if not about.isdisjoint(topics)))

    async def close(self) -> None:
        """Wait until all is done."""
        await asyncio.gather(*self._tasks)
