"""Jobs that a request starts without waiting for their end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

from netd.common.tasks import Tasks


class BackgroundJobs:
    """The running jobs, with the topics (ids, addresses) that each works on."""

    def __init__(self, tasks: Tasks | None = None) -> None:
        self._background = tasks or Tasks()
        self._tasks: dict[asyncio.Task[None], frozenset[str]] = {}

    def start(self, job: Coroutine[Any, Any, None], name: str, topics: Collection[str] = ()) -> None:
        """Start *job*; its errors are logged."""
        task = self._background.start(job, name)
        self._tasks[task] = frozenset(topics)
        task.add_done_callback(self._tasks.pop)

    async def wait_for(self, topics: Collection[str]) -> None:
        """Wait for all running jobs that work on one of the topics."""
        await asyncio.gather(*(task for task, found in self._tasks.items() if not found.isdisjoint(topics)))

    async def close(self) -> None:
        """Wait for all jobs."""
        await asyncio.gather(*self._tasks)
