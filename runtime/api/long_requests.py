"""Requests that last as long as their client or a program does: known, so that the daemon can end them at its end."""

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
        """Mark what the current request does inside as something that may be cut off at the daemon's end.

        With *call* it is cut off as soon as that client leaves, too.
        """
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with cancel_on_disconnect(call.request) if call else nullcontext():
                yield
        finally:
            self._tasks.discard(task)

    def end_all(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
