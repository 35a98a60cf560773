"""How links are removed without anybody waiting for it.

Deleting a veth takes the kernel some 20 ms, a bridge 30, nearly all of it waiting for other processors, and
for part of that nobody else can change a link.  So a link is *retired* first, in 0.3 ms: down, in the group of
the dying, under a name that nobody wants; then the reaper deletes the whole group at once when nothing
else is going on.  Moving a container's end out of its namespace would wait as long as deleting it does, and
a bridge cannot be moved at all.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from netd.kernel.netlink import rtnl
from netd.kernel.netlink.messages import Request
from netd.kernel.netlink.rtnl_socket import Rtnl

logger = logging.getLogger(__name__)

QUIET = 0.2
"""Seconds without another change, before the dying are deleted."""
LONGEST = 2.0
"""Seconds after which they are deleted although changes go on."""


def down(index: int) -> list[Request]:
    return [rtnl.set_link(index, up=False, group=rtnl.RETIRED_GROUP, tolerate=(errno.ENODEV,))]


def rename(index: int) -> list[Request]:
    """Free the link's name.  Apart from ``down``, because older kernels rename only what is down already."""
    return [rtnl.set_link(index, name=f"ndx{index}", tolerate=(errno.ENODEV,))]


def delete_all(host: Rtnl) -> None:
    """Delete what is retired, and wait for it."""
    host.talk(rtnl.delete_retired())


class Reaper:
    """Deletes retired links.  ``touch`` may come from any thread; ``work`` runs in one of its own, on the host."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting_since: float | None = None
        self._last_change = 0.0
        self._closing = False
        self._waiting: list[Future[None]] = []
        """Done by the round that begins next."""

    def touch(self, *, retired: bool) -> None:
        """Tell that something was changed, and whether there is something to delete now."""
        with self._changed:
            self._last_change = time.monotonic()
            if retired and self._waiting_since is None:
                self._waiting_since = self._last_change
                self._changed.notify()

    def finish(self) -> Future[None]:
        """Delete what is retired without waiting for a quiet moment; the result is done when that was tried."""
        done: Future[None] = Future()
        with self._changed:
            self._waiting.append(done)
            self._changed.notify()
        return done

    def close(self) -> None:
        """Let ``work`` delete what is left and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def work(self, enter: Callable[[], None]) -> None:
        """Delete what is retired until closed; *enter* takes the thread to the host's namespace."""
        enter()
        last = failed = False
        while not last:
            last = not self._wait()
            with self._changed:
                waiting, self._waiting = self._waiting, []
            try:
                with Rtnl() as host:
                    delete_all(host)
                failed = False
            except OSError as problem:
                if not failed:
                    logger.warning("links=dying action=try-again reason=%s", problem)
                failed = True
                if not last:
                    self.touch(retired=True)
            for done in waiting:
                done.set_result(None)

    def _wait(self) -> bool:
        """Return when the dying should be deleted; false means for the last time."""
        with self._changed:
            while not self._closing:
                if self._waiting:
                    self._waiting_since = None
                    return True
                if self._waiting_since is None:
                    self._changed.wait()
                    continue
                due = min(self._last_change + QUIET, self._waiting_since + LONGEST)
                left = due - time.monotonic()
                if left <= 0:
                    self._waiting_since = None
                    return True
                self._changed.wait(left)
        return False
