"""Tracks requests that last until a client disconnects or a program ends; the daemon cancels them when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from netd.common.http.client_connections import cancel_on_disconnect
from netd.common.http.web import Call


class LongRequests:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    @contextmanager
    def session(self, call: Call | None = None) -> Iterator[None]:
        """Track the current task inside the block, so that :meth:`cancel_all` cancels it.

        With *call*, the task is also cancelled when that client disconnects.
        """
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with cancel_on_disconnect(call.request) if call else nullcontext():
                yield
        finally:
            self._tasks.discard(task)

    def cancel_all(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
