"""The server's event loop: descriptors, timers and deferred calls; one thread, level-triggered epoll.

asyncio makes a handle per event and a future per wait; with one query per wake-up these cost more than the response
itself.
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

from netd.dns.low_latency import HOLD_TIME, LowLatency

log = logging.getLogger(__name__)

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
SPIN_TIME = 80e-6
"""Seconds for which the loop polls without sleeping."""
_SLOW_YIELD = 25e-6
"""Seconds; a sched_yield(2) that takes longer has let another process run."""
_NO_SPIN_TIME = 1.0
"""Seconds without spinning after a slow yield."""
_EVENTS_PER_ROUND = 64
FAILED_HANDLER_PAUSE = 0.1
"""Seconds for which a descriptor is not watched after its handler raised: the cause often persists."""


class Timer:
    """A scheduled call; ``cancel`` may be repeated, and has no effect after the call."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Calls handlers until stopped.

    An exception in a handler is logged and the loop continues: all containers depend on it, and netd may be down.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._events: dict[int, int] = {}
        """Descriptor → epoll events."""
        self._suspended: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._deferred: deque[Callable[[], None]] = deque()
        self.low_latency = LowLatency()
        self._running = False
        self._may_spin = False
        self._no_spin_until = 0.0 if len(os.sched_getaffinity(0)) > 1 else math.inf

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call *handler* with the events of *fd*; a second call replaces events and handler."""
        self._suspended.pop(fd, None)
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler
        self._events[fd] = events

    def unwatch(self, fd: int) -> None:
        """Stop watching *fd*; call it before closing *fd*.  May be repeated."""
        self._events.pop(fd, None)
        self._suspended.pop(fd, None)
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call *call* after the handlers of the current round."""
        self._deferred.append(call)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        self._running = True
        handlers = self._handlers
        while self._running:
            for fd, events in self._spin() or self._wait():
                handler = handlers.get(fd)
                if handler is not None and not self._call(handler, events):
                    self._suspend(fd, handler)
            if self._deferred:
                self._run_deferred()
            if self._timers:
                self._run_due_timers()

    def _wait(self) -> list[tuple[int, int]]:
        begin = time.monotonic()
        ready = self._epoll.poll(self._poll_timeout(), _EVENTS_PER_ROUND)
        end = time.monotonic()
        self.low_latency.waited(begin, end, has_events=bool(ready))
        self._may_spin = end - begin < 2 * SPIN_TIME and end > self._no_spin_until
        return ready

    def _spin(self) -> list[tuple[int, int]]:
        """Poll for ``SPIN_TIME`` without sleeping while queries arrive fast and no other process wants the processor.

        Waking an idle processor of a virtual machine takes 50 µs or more, most of the time of a response.
        """
        if not self._may_spin or self._deferred:
            return []
        begin = now = time.monotonic()
        while now < begin + SPIN_TIME:
            if ready := self._epoll.poll(0, _EVENTS_PER_ROUND):
                self.low_latency.waited(begin, now, has_events=True)
                return ready
            os.sched_yield()
            before, now = now, time.monotonic()
            if now - before > _SLOW_YIELD:
                self._no_spin_until = now + _NO_SPIN_TIME
                break
        self._may_spin = False
        return []

    def _poll_timeout(self) -> float | None:
        """Return the timeout of epoll_wait(2) in seconds; None waits without limit."""
        if self._deferred:
            return 0
        if not self._timers:
            return HOLD_TIME if self.low_latency.is_held else None
        seconds = max(0.0, self._timers[0][0] - time.monotonic())
        return min(seconds, HOLD_TIME) if self.low_latency.is_held else seconds

    def _run_deferred(self) -> None:
        for _ in range(len(self._deferred)):
            self._call(self._deferred.popleft())

    def _run_due_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, timer = heapq.heappop(self._timers)
            if timer.call is not None:
                self._call(timer.call)

    def _suspend(self, fd: int, handler: Callable[[int], None]) -> None:
        """Stop watching *fd* for ``FAILED_HANDLER_PAUSE``, unless another handler watches it by now."""
        if self._handlers.get(fd) is handler:
            events = self._events[fd]
            self.unwatch(fd)
            self._suspended[fd] = (events, handler)
            self.call_later(FAILED_HANDLER_PAUSE, partial(self._resume, fd, handler))

    def _resume(self, fd: int, handler: Callable[[int], None]) -> None:
        events, suspended = self._suspended.get(fd, (0, None))
        if suspended is not handler:
            return
        try:
            self.watch(fd, events, handler)
        except OSError:
            self._suspended[fd] = (events, handler)
            self.call_later(FAILED_HANDLER_PAUSE, partial(self._resume, fd, handler))

    def _call(self, function: Callable[..., None], *arguments: int) -> bool:
        """Return True if *function* returned without an exception."""
        try:
            function(*arguments)
        except Exception:
            log.exception("handler failed: handler=%s", getattr(function, "__qualname__", function))
            return False
        return True
