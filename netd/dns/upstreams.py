"""Whom to ask and in which order: the host's resolvers as they are now, and which of all resolvers seem dead."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from netd.dns.records import Upstream

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
        except OSError:
            self._upstreams, self._seen = (), ()
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
class Course:
    """How to ask: ``order`` one after the other, ``probes`` at once and besides."""

    order: tuple[Upstream, ...]
    probes: tuple[Upstream, ...] = ()


class Health:
    """Remembers who did not answer.  Resolvers asked from inside a sandbox are that sandbox's own affair."""

    def __init__(self) -> None:
        self._suspects: dict[tuple[str, Upstream], float] = {}
        """→ when to try again."""
        self._heard: dict[tuple[str, Upstream], float] = {}
        """→ when it last answered."""

    def course(self, sandbox: str, upstreams: Sequence[Upstream], now: float) -> Course:
        """Put those that did not answer lately behind the others; those due for a new try are probes."""
        good = [upstream for upstream in upstreams if _key(sandbox, upstream) not in self._suspects]
        bad = [upstream for upstream in upstreams if upstream not in good]
        due = [upstream for upstream in bad if good and self._suspects[_key(sandbox, upstream)] <= now]
        for upstream in due:
            self._suspects[_key(sandbox, upstream)] = now + RETRY
        return Course((*good, *(upstream for upstream in bad if upstream not in due)), tuple(due))

    def silent(self, sandbox: str, upstream: Upstream, since: float, now: float) -> None:
        """Note that nothing came since the question was put; one that answered others meanwhile is only slow."""
        key = _key(sandbox, upstream)
        if self._heard.get(key, since) <= since:
            self._suspects.setdefault(key, now + RETRY)

    def answered(self, sandbox: str, upstream: Upstream, now: float) -> None:
        self._heard[_key(sandbox, upstream)] = now
        self._suspects.pop(_key(sandbox, upstream), None)

    def forget(self, sandbox: str) -> None:
        for table in (self._suspects, self._heard):
            for key in [key for key in table if key[0] == sandbox]:
                del table[key]


def _key(sandbox: str, upstream: Upstream) -> tuple[str, Upstream]:
    return (sandbox if upstream.inside else "", upstream)
