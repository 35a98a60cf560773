"""The host's upstream servers, and the order of upstream servers by their health."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Hashable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from netd.dns import resolv_conf
from netd.dns.event_loop import Loop
from netd.dns.forwarding.case_randomization import CaseSupport
from netd.dns.forwarding.file_watch import FileWatch
from netd.dns.records import Upstream

log = logging.getLogger(__name__)

MAX_SERVERS = 3
"""The number of name servers that the C library uses of a resolv.conf (MAXNS)."""
CHECK = 1.0
"""Seconds."""
RETRY = 10.0
"""Seconds after which a server that did not respond is queried again, in parallel to one that does."""


class HostFile:
    """The host's resolv.conf, read after a change.

    With a loop, changes are reported by inotify(7), and the file is checked with stat(2) once in ``CHECK`` while it is
    used: file systems of other hosts report no changes.  Without a loop, it is checked on each use.
    """

    def __init__(self, path: Path, loop: Loop | None = None) -> None:
        self._path = path
        self._watch = FileWatch(path, loop) if loop is not None else None
        self._checked_until = 0.0
        self._seen: tuple[int, ...] = ()
        self._upstreams: tuple[Upstream, ...] = ()

    def upstreams(self) -> tuple[Upstream, ...]:
        """Return the name servers; empty if the file is missing or has none."""
        watch = self._watch
        if watch is not None:
            now = time.monotonic()
            if now < self._checked_until and not watch.has_changed:
                return self._upstreams
            self._checked_until = now + CHECK
            if watch.has_changed and not watch.renew():
                self._checked_until = 0.0
        return self._read()

    def _read(self) -> tuple[Upstream, ...]:
        try:
            status = os.stat(self._path)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._upstreams = parse(self._path.read_text(errors="replace"))
                self._seen = seen
        except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
            self._upstreams, self._seen = (), ()
        except OSError as error:
            log.warning("resolv.conf not read: path=%s error=%s", self._path, error)
        return self._upstreams


def parse(text: str) -> tuple[Upstream, ...]:
    """Return the first three ``nameserver`` lines of a resolv.conf with a valid address."""
    servers = resolv_conf.parse(text).servers
    return tuple(Upstream(server) for server in servers if _is_address(server))[:MAX_SERVERS]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class QueryPlan(NamedTuple):
    """Servers to query: ``order`` one after the other, ``probes`` at once and in parallel."""

    order: tuple[Upstream, ...]
    probes: tuple[Upstream, ...] = ()


class UpstreamHealth:
    """Records which servers did not respond; servers that are queried from inside a sandbox, per sandbox."""

    def __init__(self) -> None:
        self.case_support = CaseSupport(self._note_change)
        self.changes = 0
        """A number that grows when the result of ``is_plain_choice`` may change."""
        self._suspects: dict[Hashable, float] = {}
        """Server → monotonic time of the next try."""
        self._responses: dict[Hashable, float] = {}
        """Server → monotonic time of its last response."""

    def is_plain_choice(self, sandbox: str, upstreams: Sequence[Upstream]) -> bool:
        """Return True if the first server of the list is queried alone and in mixed case.

        So it is if none of them is suspect, and the first has returned records for a mixed-case name.
        """
        keys = [server_key(sandbox, upstream) for upstream in upstreams]
        return self._suspects.keys().isdisjoint(keys) and self.case_support.is_confirmed(keys[0])

    def _note_change(self) -> None:
        self.changes += 1

    @property
    def has_suspects(self) -> bool:
        """Whether any server did not respond lately."""
        return bool(self._suspects)

    def plan(self, sandbox: str, upstreams: Sequence[Upstream], now: float) -> QueryPlan:
        """Return the servers with those that did not respond lately last; those due for a new try are probes."""
        if not self._suspects:
            return QueryPlan(tuple(upstreams))
        healthy = [upstream for upstream in upstreams if server_key(sandbox, upstream) not in self._suspects]
        suspect = [upstream for upstream in upstreams if upstream not in healthy]
        due = [upstream for upstream in suspect if healthy and self._suspects[server_key(sandbox, upstream)] <= now]
        for upstream in due:
            self._suspects[server_key(sandbox, upstream)] = now + RETRY
        return QueryPlan((*healthy, *(upstream for upstream in suspect if upstream not in due)), tuple(due))

    def record_silence(self, sandbox: str, upstream: Upstream, since: float, now: float) -> None:
        """Record that a query sent at *since* got no response; ignored if the server responded to another since."""
        if not self.has_responded(sandbox, upstream, since):
            self._suspects.setdefault(server_key(sandbox, upstream), now + RETRY)
            self.changes += 1

    def has_responded(self, sandbox: str, upstream: Upstream, since: float) -> bool:
        """Return True if the server responded to a query after *since*."""
        return self._responses.get(server_key(sandbox, upstream), since) > since

    def is_suspect(self, sandbox: str, upstream: Upstream) -> bool:
        return server_key(sandbox, upstream) in self._suspects

    def record_response(self, sandbox: str, upstream: Upstream, now: float) -> None:
        self.record_response_of(server_key(sandbox, upstream), now)

    def record_response_of(self, key: Hashable, now: float) -> None:
        """Do the same as ``record_response``, for the key of a server."""
        self._responses[key] = now
        if self._suspects and self._suspects.pop(key, None) is not None:
            self.changes += 1

    def forget(self, sandbox: str) -> None:
        gone = {key for key in (*self._suspects, *self._responses) if isinstance(key, tuple) and key[0] == sandbox}
        for key in gone:
            self._suspects.pop(key, None)
            self._responses.pop(key, None)
        self.changes += 1
        self.case_support.forget(gone)


def server_key(sandbox: str, upstream: Upstream) -> Hashable:
    """Return the key of a server: a server that is queried from inside a sandbox belongs to the sandbox."""
    return (sandbox if upstream.inside else "", upstream)
