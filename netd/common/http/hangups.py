"""Detection of EPOLLHUP: the peer has closed a connection in both directions.

A stream socket whose peer has shut down its sending side stays readable, so asyncio stops polling it, and would notice
a later close only when writing.  A separate epoll object waits for EPOLLHUP alone.
"""

from __future__ import annotations

import asyncio
import select


class Hangups:
    """One epoll object for all watched connections of the running loop."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        asyncio.get_running_loop().add_reader(self._epoll, self._collect)

    def watch(self, descriptor: int) -> asyncio.Future[None]:
        """Return a future that is done at EPOLLHUP; call :meth:`forget` before closing *descriptor*."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[descriptor] = future
        self._epoll.register(descriptor, 0)
        return future

    def forget(self, descriptor: int) -> None:
        """Stop watching, and cancel the future unless it is done."""
        future = self._waiting.pop(descriptor, None)
        if future is not None:
            self._epoll.unregister(descriptor)
            future.cancel()

    def close(self) -> None:
        for descriptor in list(self._waiting):
            self.forget(descriptor)
        asyncio.get_running_loop().remove_reader(self._epoll)
        self._epoll.close()

    def _collect(self) -> None:
        for descriptor, _events in self._epoll.poll(0):
            future = self._waiting.pop(descriptor)
            self._epoll.unregister(descriptor)
            if not future.done():
                future.set_result(None)
