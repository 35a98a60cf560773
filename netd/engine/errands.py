"""Work that is begun by a request and that its answer does not wait for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from typing import Any

from netd.common.errors import Problem

_log = logging.getLogger(__name__)


class Errands:
    """Keeps hold of what is under way until it is done, and of what it is about."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], frozenset[str]] = {}

    def send(self, errand: Coroutine[Any, Any, None], name: str, about: Collection[str] = ()) -> None:
        """Begin *errand*; what becomes of it is only logged."""
        task = asyncio.get_running_loop().create_task(_run(errand, name), name=name)
        self._tasks[task] = frozenset(about)
        task.add_done_callback(self._tasks.pop)

    async def done_with(self, topics: Collection[str]) -> None:
        """Wait until nothing is under way that is about one of the topics."""
        await asyncio.gather(*(task for task, about in self._tasks.items() if not about.isdisjoint(topics)))

    async def close(self) -> None:
        """Wait until all is done."""
        await asyncio.gather(*self._tasks)


async def _run(errand: Coroutine[Any, Any, None], name: str) -> None:
    try:
        await errand
    except (Problem, OSError) as problem:
        _log.error("errand=%s failed=true reason=%s", name, problem)
