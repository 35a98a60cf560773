"""A small event loop for the shim: descriptors, and the functions that handle their events.

asyncio would add megabytes of memory to every shim.
"""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
HANGUP = select.EPOLLHUP | select.EPOLLERR


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[int, Callable[[int], object]]] = {}

    def watch(self, descriptor: int, events: int, handler: Callable[[int], object]) -> None:
        """Call *handler* with the ready events whenever there are any; replaces the descriptor's former handler."""
        known = self._handlers.get(descriptor)
        self._handlers[descriptor] = (events, handler)
        if known is None:
            self._epoll.register(descriptor, events)
        elif known[0] != events:
            self._epoll.modify(descriptor, events)

    def unwatch(self, descriptor: int) -> None:
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def poll(self, timeout: float) -> None:
        """Wait at most *timeout* seconds (-1: for ever) for events, and handle them."""
        for descriptor, events in self._epoll.poll(timeout):
            known = self._handlers.get(descriptor)
            if known is not None:
                known[1](events)
