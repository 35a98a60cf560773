"""Work that is begun by a request and that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from netd.common.errors import Problem

_log = logging.getLogger(__name__)


class Errands:
    """Keeps hold of what is under way until it is done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, errand: Coroutine[Any, Any, None], name: str) -> None:
        """Begin *errand*; what becomes of it is only logged."""
        task = asyncio.get_running_loop().create_task(_run(errand, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait until all is done."""
        await asyncio.gather(*self._tasks)


async def _run(errand: Coroutine[Any, Any, None], name: str) -> None:
    try:
        await errand
    except (Problem, OSError) as problem:
        _log.error("errand=%s failed=true reason=%s", name, problem)
