"""Items that are due after one fixed delay: adding and removing cost no timer of the event loop each."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from netd.dns.event_loop import Loop

T = TypeVar("T")


class DelayQueue(Generic[T]):
    """Calls *call* with each item that was not removed within *seconds*.

    *grain*: seconds between two wake-ups at least, so that items can be due by as much later.
    """

    def __init__(self, loop: Loop, seconds: float, call: Callable[[T], None], grain: float = 0.0) -> None:
        self._grain = grain
        self._loop = loop
        self._seconds = seconds
        self._call = call
        self._due: dict[T, float] = {}
        """Item → monotonic time; the earliest is first, because the delay is the same for all."""
        self._is_armed = False

    def add(self, item: T) -> None:
        """Start the delay of an item; an item that is in the queue starts again."""
        if item in self._due:
            del self._due[item]
        self._due[item] = time.monotonic() + self._seconds
        if not self._is_armed:
            self._arm(self._seconds)

    def remove(self, item: T) -> None:
        """Remove an item; ignored if it is not in the queue."""
        self._due.pop(item, None)

    def _arm(self, seconds: float) -> None:
        self._is_armed = True
        self._loop.call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._is_armed = False
        now = time.monotonic()
        due = []
        for item, at in self._due.items():
            if at > now:
                self._arm(max(at - now, self._grain))
                break
            due.append(item)
        for item in due:
            self._loop.call_soon(partial(self._run, item))

    def _run(self, item: T) -> None:
        if self._due.pop(item, None) is not None:
            self._call(item)
