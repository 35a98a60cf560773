"""Deferred deletion of links.

The kernel takes some 20 ms to delete a veth and 30 ms to delete a bridge, nearly all of it waiting for other
processors, and blocks other changes of links for part of that.  So a link is *retired* first, in 0.3 ms: set down, put
into a group of its own and renamed.  The reaper later deletes the whole group in one request, when no other changes are
made.  Moving a container's end out of its namespace would take as long as its deletion, and a bridge cannot be moved.

Owns the group of retired links; must not delete links outside it.
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

_QUIET = 0.2
"""Seconds without another change before the retired links are deleted."""
_MAX_DELAY = 2.0
"""Seconds after which they are deleted even if changes continue."""


def retire(index: int) -> list[Request]:
    """Return the request that sets the link down and adds it to the group of retired links."""
    return [rtnl.set_link(index, up=False, group=rtnl.RETIRED_GROUP, tolerate=(errno.ENODEV,))]


def rename(index: int) -> list[Request]:
    """Return the request that frees the link's name.  Separate: older kernels rename only links that are down."""
    return [rtnl.set_link(index, name=f"ndx{index}", tolerate=(errno.ENODEV,))]


def delete_all(host: Rtnl) -> None:
    """Delete the retired links and wait for it."""
    host.talk(rtnl.delete_retired())


class Reaper:
    """Deletes retired links.  Any thread may call its methods; ``run`` needs a thread of its own on the host."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending_since: float | None = None
        self._last_change = 0.0
        self._closing = False
        self._waiting: list[Future[None]] = []
        """Completed after the next deletion."""

    def note_change(self, *, retired: bool) -> None:
        """Note that a change was made, and whether it retired links."""
        with self._changed:
            self._last_change = time.monotonic()
            if retired and self._pending_since is None:
                self._pending_since = self._last_change
                self._changed.notify()

    def delete_now(self) -> Future[None]:
        """Delete the retired links without delay; the future completes after the attempt, also if it failed."""
        done: Future[None] = Future()
        with self._changed:
            self._waiting.append(done)
            self._changed.notify()
        return done

    def close(self) -> None:
        """Make ``run`` delete the remaining retired links and return."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def run(self, enter: Callable[[], None]) -> None:
        """Delete retired links until closed; *enter* moves the thread into the host's namespace."""
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
                    logger.warning("retired links not deleted, retrying: error=%s", problem)
                failed = True
                if not last:
                    self.note_change(retired=True)
            for done in waiting:
                done.set_result(None)

    def _wait(self) -> bool:
        """Wait until the retired links should be deleted; return false if it is the last time."""
        with self._changed:
            while not self._closing:
                if self._waiting:
                    self._pending_since = None
                    return True
                if self._pending_since is None:
                    self._changed.wait()
                    continue
                due = min(self._last_change + _QUIET, self._pending_since + _MAX_DELAY)
                left = due - time.monotonic()
                if left <= 0:
                    self._pending_since = None
                    return True
                self._changed.wait(left)
        return False
