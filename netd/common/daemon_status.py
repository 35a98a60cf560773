"""A daemon's warnings about itself: failed background tasks, damaged records, disk, file descriptors."""

from __future__ import annotations

from netd.common import descriptor_limit
from netd.common.store.store import Store
from netd.common.tasks import Failures

_WARNING_SHARE = 0.9
"""The fraction of the descriptor limit above which ``warnings`` reports the usage."""


class DaemonStatus:
    def __init__(self, program: str, failures: Failures, store: Store) -> None:
        self._program = program
        self._failures = failures
        self._store = store

    def warnings(self) -> list[str]:
        """Return one sentence per fault, each with the program's name in front."""
        found = [f"{fault}; {self._remedy()}" for fault in self._store.incidents]
        found += [*self._store.warnings(), *self._failures.sentences()]
        used, limit = descriptor_limit.in_use()
        if used > _WARNING_SHARE * limit:
            found.append(f"{used} of {limit} file descriptors are in use: raise the limit (LimitNOFILE)")
        return [f"{self._program}: {sentence}" for sentence in found]

    def _remedy(self) -> str:
        return (
            "nothing without a record is deleted until you have looked through it and started"
            f" {self._program} once with --discard-unknown"
        )
