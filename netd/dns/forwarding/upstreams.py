"""Whom to ask and in which order: the host's resolvers as they are now, and which of all resolvers seem dead."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from netd.dns.forwarding.case_randomization import Casing
from netd.dns.records import Upstream

log = logging.getLogger(__name__)

MOST = 3
"""As many as the C library uses of a resolv.conf."""
RETRY = 10.0
"""Seconds after which a resolver that did not answer is tried again, beside one that does."""


class HostFile:
    """The host's resolv.conf: looked at on each use and read when it has changed, so no watcher can miss a change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._upstreams: tuple[Upstream, ...] = ()

    def upstreams(self) -> tuple[Upstream, ...]:
        """Return the resolvers; none when the file is missing or names none."""
        try:
            status = os.stat(self._path)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._upstreams = parse(self._path.read_text(errors="replace"))
                self._seen = seen
        except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
            self._upstreams, self._seen = (), ()
        except OSError as error:
            log.warning("event=resolv-conf-not-read reason=%s", error)
        return self._upstreams


def parse(text: str) -> tuple[Upstream, ...]:
    """Return the usable ``nameserver`` lines of a resolv.conf, the first three."""
    words = [line.split() for line in text.splitlines()]
    addresses = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
    return tuple(Upstream(address) for address in addresses if _is_address(address))[:MOST]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """How to ask: ``order`` one after the other, ``probes`` at once and besides."""

    order: tuple[Upstream, ...]
    probes: tuple[Upstream, ...] = ()


class UpstreamHealth:
    """Remembers who did not answer.  Resolvers asked from inside a sandbox are that sandbox's own affair."""

    def __init__(self) -> None:
        self.casing = Casing()
        self._suspects: dict[Hashable, float] = {}
        """→ when to try again."""
        self._heard: dict[Hashable, float] = {}
        """→ when it last answered."""

    def course(self, sandbox: str, upstreams: Sequence[Upstream], now: float) -> QueryPlan:
        """Put those that did not answer lately behind the others; those due for a new try are probes."""
        good = [upstream for upstream in upstreams if server(sandbox, upstream) not in self._suspects]
        bad = [upstream for upstream in upstreams if upstream not in good]
        due = [upstream for upstream in bad if good and self._suspects[server(sandbox, upstream)] <= now]
        for upstream in due:
            self._suspects[server(sandbox, upstream)] = now + RETRY
        return QueryPlan((*good, *(upstream for upstream in bad if upstream not in due)), tuple(due))

    def silent(self, sandbox: str, upstream: Upstream, since: float, now: float) -> None:
        """Note that nothing came since the question was put; one that answered others meanwhile is only slow."""
        if not self.is_known(sandbox, upstream, since):
            self._suspects.setdefault(server(sandbox, upstream), now + RETRY)

    def is_known(self, sandbox: str, upstream: Upstream, since: float) -> bool:
        """Whether it answered a question after *since*."""
        return self._heard.get(server(sandbox, upstream), since) > since

    def is_suspect(self, sandbox: str, upstream: Upstream) -> bool:
        return server(sandbox, upstream) in self._suspects

    def answered(self, sandbox: str, upstream: Upstream, now: float) -> None:
        self._heard[server(sandbox, upstream)] = now
        self._suspects.pop(server(sandbox, upstream), None)

    def forget(self, sandbox: str) -> None:
        gone = {key for key in (*self._suspects, *self._heard) if isinstance(key, tuple) and key[0] == sandbox}
        for key in gone:
            self._suspects.pop(key, None)
            self._heard.pop(key, None)
        self.casing.forget(gone)


def server(sandbox: str, upstream: Upstream) -> Hashable:
    """Return the key of a resolver: one that is asked from inside belongs to its sandbox."""
    return (sandbox if upstream.inside else "", upstream)
