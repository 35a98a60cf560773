"""The server's event loop: descriptors, timers and work that is left over; one thread, level-triggered epoll.

asyncio's loop makes a handle per event and a future per wait; with one question per wake that costs more than
the answer.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import select
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_EVENTS_PER_TURN = 64


class Timer:
    """A call in the future; ``cancel`` may come late or twice."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Calls handlers until stopped.

    One that raises is logged and the loop goes on: all containers depend on it, and nobody watches while netd is down.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._left_over: deque[Callable[[], None]] = deque()
        self._running = False

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call *handler* with the events of *fd*; watching it again replaces events and handler."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Stop watching *fd*, before it is closed; repeating it is harmless."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def soon(self, call: Callable[[], None]) -> None:
        """Call after the events that are waiting now have had their turn."""
        self._left_over.append(call)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        self._running = True
        poll, handlers = self._epoll.poll, self._handlers
        while self._running:
            for fd, events in poll(self._patience(), _EVENTS_PER_TURN):
                handler = handlers.get(fd)
                if handler is not None:
                    self._call(handler, events)
            if self._left_over:
                self._do_left_over()
            if self._timers:
                self._do_due()

    def _patience(self) -> float | None:
        """Return how long to wait for events, in seconds; None is for ever."""
        if self._left_over:
            return 0
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _do_left_over(self) -> None:
        for _ in range(len(self._left_over)):
            self._call(self._left_over.popleft())

    def _do_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, timer = heapq.heappop(self._timers)
            if timer.call is not None:
                self._call(timer.call)

    def _call(self, function: Callable[..., None], *arguments: int) -> None:
        try:
            function(*arguments)
        except Exception:
            log.exception("event=failed handler=%s", getattr(function, "__qualname__", function))
