"""A small event loop for the shim: descriptors and what to call when they are ready.

asyncio would cost every shim megabytes.
"""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[int, Callable[[int], object]]] = {}

    def watch(self, descriptor: int, events: int, handler: Callable[[int], object]) -> None:
        """Call *handler* with the events that are there, again and again; replaces what was watched before."""
        known = self._handlers.get(descriptor)
        self._handlers[descriptor] = (events, handler)
        if known is None:
            self._epoll.register(descriptor, events)
        elif known[0] != events:
            self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def turn(self, timeout: float) -> None:
        """Wait for something to happen, at most *timeout* seconds (-1 for ever), and handle it."""
        for descriptor, events in self._epoll.poll(timeout):
            known = self._handlers.get(descriptor)
            if known is not None:
                known[1](events)
