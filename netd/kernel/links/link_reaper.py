"""Deferred deletion of links.

The kernel takes 20 to 40 ms to delete a bridge, bare or not: it waits for all RCU callbacks (``br_multicast_dev_del``)
while it holds the lock of all link changes, and again for each bridge of a group; a veth takes 15 ms, further veths of
a group 0.4 ms each.  So a link is *retired* first, in 0.3 ms: set down, put into a group of its own and renamed.  The
reaper later deletes the bridges one by one, and the rest of the group in one request, when no other changes are made.
Moving a container's end out of its namespace would take as long as its deletion, and a bridge cannot be moved.

Setting a link down and renaming it each wait for an expedited RCU grace period, which takes 0.2 ms and on a busy host
several milliseconds.  So a bridge that is deleted at once only gets into the group, and keeps its name.

Owns the groups of retired links; must not delete links outside them.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from netd.kernel.netlink import rtnl
from netd.kernel.netlink.messages import Request
from netd.kernel.netlink.rtnl_socket import Rtnl

logger = logging.getLogger(__name__)

_QUIET, _QUIET_BRIDGES = 0.2, 0.03
"""Seconds without another change before the retired links are deleted: veths, and bridges, which are visible."""
_BURST, _BURST_TIME = 4, 0.5
"""Removals of bridges, the last included, within seconds, from which on they are deleted when the burst has ended."""
_MAX_BRIDGES = 64
"""Retired bridges; beyond that, each removal waits for a deletion to begin."""
_MAX_DELAY = 2.0
"""Seconds after which they are deleted even if changes continue."""


def retire(index: int, group: int = rtnl.RETIRED_GROUP) -> list[Request]:
    """Return the request that sets the link down and adds it to a group of retired links."""
    return [rtnl.set_link(index, up=False, group=group, tolerate=(errno.ENODEV,))]


def rename(index: int) -> list[Request]:
    """Return the request that frees the link's name.  Separate: older kernels rename only links that are down."""
    return [rtnl.set_link(index, name=_retired_name(index), tolerate=(errno.ENODEV,))]


def set_aside(index: int) -> list[Request]:
    """Return the request that adds a link to the group of retired links that are deleted next; it stays up."""
    return [rtnl.set_link(index, group=rtnl.RETIRED_GROUP, tolerate=(errno.ENODEV,))]


def free_name(host: Rtnl, name: str) -> bool:
    """Rename the retired link that has this name; return false if none has it."""
    link = host.find(name)
    if link is None or link.group not in (rtnl.RETIRED_GROUP, rtnl.RETIRED_BRIDGES):
        return False
    host.talk(rtnl.set_link(link.index, up=False, tolerate=(errno.ENODEV,)), *rename(link.index))
    return True


def _retired_name(index: int) -> str:
    return f"ndx{index}"


def delete_all(host: Rtnl) -> None:
    """Delete the retired links and wait for it."""
    host.talk(rtnl.delete_group(rtnl.RETIRED_GROUP), rtnl.delete_group(rtnl.RETIRED_BRIDGES))


class Reaper:
    """Deletes retired links.  Any thread may call its methods; ``run`` needs a thread of its own on the host."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending_since: float | None = None
        self._last_change = 0.0
        self._removals: deque[float] = deque(maxlen=_BURST)
        """The times of the last removals of bridges."""
        self._bridges: list[int] = []
        """Indices of retired bridges."""
        self._rest_until = 0.0
        """Amid other changes, as much time passes after a deletion as it took, because they wait meanwhile."""
        self._closing = False
        self._host: Rtnl | None = None
        """The socket of ``run``, opened at the first deletion."""
        self._waiting: list[Future[None]] = []
        """Completed after the next deletion."""
        self._starting: list[Future[None]] = []
        """Completed when the next deletion begins."""

    def deletes_at_once(self) -> bool:
        """Return whether ``begin`` would delete a bridge that is removed now, so that its name need not be freed."""
        with self._changed:
            removals = [*self._removals, time.monotonic()][-_BURST:]
            burst = len(removals) == _BURST and removals[-1] - removals[0] < _BURST_TIME
            return not burst and not self._bridges

    def note_change(self, *, retired: bool, bridges: Sequence[int] = (), set_aside: int = 0) -> None:
        """Note that a change was made, and whether it retired links.

        *bridges* are the indices of those among them, without the number of bridges that were only *set_aside*.
        """
        with self._changed:
            now = self._last_change = time.monotonic()
            self._removals.extend([now] * (len(bridges) + set_aside))
            self._bridges += bridges
            if retired and (bridges or self._pending_since is None):
                self._pending_since = self._pending_since or now
                self._changed.notify()

    def delete_now(self) -> Future[None]:
        """Delete the retired links without delay; the future completes after the attempt, also if it failed."""
        return self._request(self._waiting)

    def begin(self) -> Future[None] | None:
        """Begin to delete the retired links, unless the last removal is one of a burst.

        The future completes when the kernel deletes them: a program that lists the links waits for that, because both
        take the kernel's lock.  In a burst the next change would wait too: return None, the links are deleted later.
        """
        with self._changed:
            burst = len(self._removals) == _BURST and self._removals[-1] - self._removals[0] < _BURST_TIME
            due = not burst or len(self._bridges) > _MAX_BRIDGES
        return self._request(self._starting) if due else None

    def _request(self, requests: list[Future[None]]) -> Future[None]:
        done: Future[None] = Future()
        with self._changed:
            requests.append(done)
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
                starting, self._starting = self._starting, []
                everything = last or bool(waiting) or (bool(starting) and len(self._bridges) < _BURST)
                bridges = self._bridges if everything else self._bridges[-1:]
                self._bridges = [] if everything else self._bridges[:-1]
            began = time.monotonic()
            try:
                self._delete(bridges, starting, others=everything or not self._bridges)
                failed = False
            except OSError as problem:
                if not failed:
                    logger.warning("retired links not deleted, retrying: error=%s", problem)
                failed = True
                self._close_socket()
                if not last:
                    self.note_change(retired=True)
            now = time.monotonic()
            self._rest_until = 2 * now - began if now - self._last_change < _MAX_DELAY else now
            for done in (*starting, *waiting):
                if not done.done():
                    done.set_result(None)
        self._close_socket()

    def _close_socket(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None

    def _delete(self, bridges: Sequence[int], starting: Sequence[Future[None]], *, others: bool) -> None:
        """Delete the bridges and *others*: in a single request for *starting*, else the bridges one by one."""
        host = self._host = self._host or Rtnl()
        if starting and others:
            names = map(_retired_name, bridges)
            host.talk(*(rtnl.set_link(name, group=rtnl.RETIRED_GROUP, tolerate=(errno.ENODEV,)) for name in names))
            bridges = ()
        for done in starting:
            done.set_result(None)
        for index in reversed(bridges):
            host.talk(rtnl.delete_link(_retired_name(index)))
        if others:
            host.talk(rtnl.delete_group(rtnl.RETIRED_GROUP))

    def _wait(self) -> bool:
        """Wait until retired links should be deleted; return false if it is the last time."""
        with self._changed:
            while not self._closing:
                due = self._due()
                if due is None:
                    self._changed.wait()
                elif (left := due - time.monotonic()) > 0:
                    self._changed.wait(left)
                else:
                    self._pending_since = None if not self._bridges[:-1] else time.monotonic()
                    return True
        return False

    def _due(self) -> float | None:
        """Return when the next deletion is due; None if there is nothing to delete."""
        if self._waiting or self._starting:
            return 0.0
        if self._pending_since is None:
            return None
        quiet = _QUIET_BRIDGES if self._bridges else _QUIET
        return max(min(self._last_change + quiet, self._pending_since + _MAX_DELAY), self._rest_until)
