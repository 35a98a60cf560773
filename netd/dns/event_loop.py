"""The server's event loop: descriptors, timers and work that is left over; one thread, level-triggered epoll.

asyncio's loop makes a handle per event and a future per wait; with one question per wake that costs more than
the answer.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import os
import select
import time
from collections import deque
from collections.abc import Callable
from functools import partial

log = logging.getLogger(__name__)

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
LINGER = 80e-6
"""Seconds."""
_CROWDED = 25e-6
"""Seconds; a yield that takes longer has let somebody else run."""
_RESPITE = 1.0
_EVENTS_PER_TURN = 64
REST = 0.1
"""Seconds for which a descriptor is left alone whose handler raised: what made it raise is often still there."""


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
        self._events: dict[int, int] = {}
        """What is waited for."""
        self._resting: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._left_over: deque[Callable[[], None]] = deque()
        self._running = False
        self._brisk = False
        self._crowded_until = 0.0 if len(os.sched_getaffinity(0)) > 1 else math.inf

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call *handler* with the events of *fd*; watching it again replaces events and handler."""
        self._resting.pop(fd, None)
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler
        self._events[fd] = events

    def forget(self, fd: int) -> None:
        """Stop watching *fd*, before it is closed; repeating it is harmless."""
        self._events.pop(fd, None)
        self._resting.pop(fd, None)
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
        handlers = self._handlers
        while self._running:
            for fd, events in self._linger() or self._wait():
                handler = handlers.get(fd)
                if handler is not None and not self._call(handler, events):
                    self._rest(fd, handler)
            if self._left_over:
                self._do_left_over()
            if self._timers:
                self._do_due()

    def _wait(self) -> list[tuple[int, int]]:
        begin = time.monotonic()
        ready = self._epoll.poll(self._patience(), _EVENTS_PER_TURN)
        end = time.monotonic()
        self._brisk = end - begin < 2 * LINGER and end > self._crowded_until
        return ready

    def _linger(self) -> list[tuple[int, int]]:
        """Look again for a moment when questions come quickly one after the other and nobody else wants the processor.

        Waking up an idle processor of a virtual machine takes 50 µs and more, most of what an answer takes in all.
        """
        if not self._brisk or self._left_over:
            return []
        begin = now = time.monotonic()
        while now < begin + LINGER:
            if ready := self._epoll.poll(0, _EVENTS_PER_TURN):
                return ready
            os.sched_yield()
            before, now = now, time.monotonic()
            if now - before > _CROWDED:
                self._crowded_until = now + _RESPITE
                break
        self._brisk = False
        return []

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

    def _rest(self, fd: int, handler: Callable[[int], None]) -> None:
        """Leave a descriptor alone for a moment, unless it is no longer watched by the same handler."""
        if self._handlers.get(fd) is handler:
            events = self._events[fd]
            self.forget(fd)
            self._resting[fd] = (events, handler)
            self.later(REST, partial(self._resume, fd, handler))

    def _resume(self, fd: int, handler: Callable[[int], None]) -> None:
        events, resting = self._resting.get(fd, (0, None))
        if resting is not handler:
            return
        try:
            self.watch(fd, events, handler)
        except OSError:
            self._resting[fd] = (events, handler)
            self.later(REST, partial(self._resume, fd, handler))

    def _call(self, function: Callable[..., None], *arguments: int) -> bool:
        """Return whether it ended without an exception."""
        try:
            function(*arguments)
        except Exception:
            log.exception("event=failed handler=%s", getattr(function, "__qualname__", function))
            return False
        return True
