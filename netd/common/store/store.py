"""The document store: typed values by kind and id, in SQLite with a write-ahead log.

One thread does all writing, in the order of the calls.  After a crash a transaction is complete or absent; a durable
one is synced to disk before ``write`` returns.  The store does not know the meaning of the documents.

A copy of the file and a log of the changes since that copy are kept beside it; a lost or damaged file is rebuilt from
them (:mod:`netd.common.store.store_recovery`).  Damage is recorded as incidents until ``accept_incidents``: until then
records may be missing, and nothing may be deleted for having no record.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from netd.common import codec, disk
from netd.common.disk import Reserve
from netd.common.errors import Problem, ReadOnly
from netd.common.store import store_file
from netd.common.store.change_log import Changes, Row
from netd.common.store.store_file import Migration
from netd.common.store.store_recovery import INCIDENT, Incident, good, incident, open_store

T = TypeVar("T")

_log = logging.getLogger(__name__)
_AGAIN = 2.0
"""Seconds until the reserve is tried again."""
_QUARANTINED = "quarantined-"
_LONGEST_LOG = 1 << 18
"""Bytes of changes after which a new copy is made."""
_PAUSE = 60.0
"""Seconds between two copies at least."""


@dataclass(frozen=True, slots=True)
class Put:
    """Keep *value* under kind and id, replacing what is there."""

    kind: str
    id: str
    value: Any


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget kind and id; what is not there is no error."""

    kind: str
    id: str


class Store:
    """Documents in one file.  Open it once per process; close it before the loop ends."""

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Migration] = (),
        *,
        copies: Path | None = None,
        in_use: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open or make the store at *path*; of a store that is there and whole nothing is written.

        *migrations* bring a store of schema 1, 2, … one further each; a store newer than this program is refused.
        On a read-only disk a copy in the folder *copies* is read, and changes are refused until the disk is writable.
        An empty store is a lost one when *in_use* says so.
        """
        self.path = path
        self._migrations = migrations
        self._copies = copies
        self._reserve = Reserve(path.with_name(f"{path.name}-reserve"))
        self._short = asyncio.Event()
        """Set while the reserve is not there."""
        self.read_only = False
        self._in_use = in_use
        self.faults: list[str] = []
        """What this process found to be wrong with the records; a part of ``incidents``."""
        self._incidents: list[str] = []
        self._number = 0
        self._changes = Changes(path)
        self._copying: Future[None] | None = None
        self._copy_again = 0.0
        self._copier = ThreadPoolExecutor(1, thread_name_prefix="store-copy")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._db = self._thread.submit(self._begin).result()

    @property
    def incidents(self) -> list[str]:
        """Return what was wrong with the records and nobody has accepted, oldest first."""
        return list(self._incidents)

    def accept_incidents(self) -> None:
        """Take the records for what they are: forget what was wrong, and those that cannot be read."""
        self._thread.submit(self._accept_incidents).result()

    def load(self, kind: str, of: type[T]) -> dict[str, T]:
        """Return all values of a kind by id.  One that cannot be read is kept apart, and is an incident."""
        return self._thread.submit(self._load, kind, of).result()

    async def write(self, *changes: Put | Drop, durable: bool = True) -> None:
        """Carry out all changes in one transaction.

        Raises NoSpace when the disk is full, ReadOnly when it cannot be written; nothing is changed then.  What drops
        something may use the room that is kept in reserve.
        Values are encoded at the call, so later changes to them do not matter.  The write happens even
        if the caller is cancelled meanwhile.
        """
        rows = [_row(change) for change in changes]
        done = self._thread.submit(self._write, rows, durable)
        try:
            await asyncio.shield(asyncio.wrap_future(done))
        finally:
            if not self._reserve.held:
                self._short.set()

    async def write_best_effort(self, *changes: Put | Drop) -> None:
        """Record what the next start finds out again: that it cannot be recorded is only logged."""
        try:
            await self.write(*changes, durable=False)
        except Problem as problem:
            _log.warning("not recorded: error=%s", problem.message)

    async def keep_reserve(self) -> None:
        """Make the reserve again whenever it was used, as soon as there is room; goes on until it is cancelled."""
        while True:
            await self._short.wait()
            if await asyncio.wrap_future(self._thread.submit(self._fill)):
                self._short.clear()
            else:
                await asyncio.sleep(_AGAIN)

    def warnings(self) -> list[str]:
        """Return one sentence for everything that is wrong with the disk."""
        folder = self.path.parent
        if self.read_only:
            return [f"the disk of {folder} is read-only: changes are refused until it is writable"]
        if not self._reserve.held:
            return [f"the disk of {folder} is full: free some space, removals may fail too"]
        return []

    def close(self) -> None:
        self._copier.shutdown()
        self._thread.submit(self._db.close).result()
        self._thread.shutdown()
        self._changes.close()

    def _load(self, kind: str, of: type[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        select = "SELECT id, CAST(body AS BLOB) FROM documents WHERE kind = ? ORDER BY rowid"
        for key, body in self._db.execute(select, (kind,)).fetchall():
            try:
                found[key] = codec.decode(body, of)
            except (msgspec.DecodeError, ValueError, TypeError) as error:
                self._quarantine(kind, key, body, error)
        return found

    def _quarantine(self, kind: str, key: str, body: bytes, error: Exception) -> None:
        fault = f"the store {self.path} held a {kind} {key} that cannot be read and is kept apart: {error}"
        self._blame([fault])
        try:
            self._write([(kind, key, None), (f"{_QUARANTINED}{kind}", key, body), incident(fault)], True)
        except Problem as problem:
            _log.warning("record stays where it is: kind=%s id=%s error=%s", kind, key, problem.message)

    def _blame(self, faults: Sequence[str]) -> None:
        for fault in faults:
            _log.error("%s", fault)
            self.faults.append(fault)
            if fault not in self._incidents:
                self._incidents.append(fault)

    def _accept_incidents(self) -> None:
        select = "SELECT kind, id FROM documents WHERE kind = ? OR kind LIKE ?"
        found = self._db.execute(select, (INCIDENT, f"{_QUARANTINED}%")).fetchall()
        self._write([(kind, key, None) for kind, key in found], True)
        self._incidents.clear()
        self.faults.clear()

    def _write(self, rows: list[Row], durable: bool) -> None:
        try:
            self._execute(rows, durable)
        except sqlite3.Error as error:
            drops = any(body is None for _, _, body in rows)
            if not (drops and disk.is_full(error, self.path) and self._write_in_reserve(rows, durable)):
                raise disk.problem(error, self.path) from error
        except MemoryError as error:
            raise disk.problem(error, self.path) from error

    def _fill(self) -> bool:
        return not self.read_only and self._reserve.fill()

    def _write_in_reserve(self, rows: list[Row], durable: bool) -> bool:
        """Try again where the log has room already, then with the room of the reserve."""
        for with_reserve in (False, True):
            if with_reserve and not self._reserve.release():
                break
            with suppress(sqlite3.Error):
                # The log is written from its beginning again, over room that it has already.
                self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
                self._execute(rows, durable)
                return True
        return False

    def _begin(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o710)
        self.read_only = not disk.is_writable(self.path)
        if not self.read_only:
            found = self._open(self.path)
            if not self._reserve.fill():
                self._short.set()
                _log.warning("disk is full: %s", self.path.parent)
            return found
        if self._copies is None or not self.path.exists():
            raise ReadOnly(f"cannot open {self.path}: the disk is read-only; make it writable and start again")
        _log.warning("disk is read-only, changes are refused until it is writable: %s", self.path.parent)
        return self._open(disk.copy_database(self.path, self._copies))

    def _open(self, path: Path) -> sqlite3.Connection:
        opened = open_store(path, self._migrations, self._in_use)
        self._db, self._number = opened.db, opened.number
        self._changes.size = opened.logged
        self._incidents = [found.text for found in self._load(INCIDENT, Incident).values()]
        self._blame(opened.faults)
        if opened.needs_copy and not self.read_only:
            self._copy()
        return opened.db

    def _execute(self, rows: list[Row], durable: bool) -> None:
        if self.read_only:
            self._return_to_disk()
        self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        if not store_file.change(self._db, self._number + 1, rows):
            return
        self._number += 1
        if not self._changes.append(self._number, rows) or self._changes.size > _LONGEST_LOG:
            self._copy()

    # The copy

    def _copy(self) -> None:
        """Make a copy unless one was made just now: read here, written in another thread while changes go on."""
        if time.monotonic() < self._copy_again or (self._copying is not None and not self._copying.done()):
            return
        self._copy_again = time.monotonic() + _PAUSE
        try:
            self._changes.rotate()
            self._copying = self._copier.submit(self._put_copy, self._db.serialize())
        except (OSError, sqlite3.Error, MemoryError) as error:
            _log.warning("no copy of the store was made: path=%s error=%s", self.path, error)

    def _put_copy(self, data: bytes) -> None:
        try:
            store_file.put_copy(good(self.path), data)
            self._changes.forget_old()
        except (OSError, sqlite3.Error, store_file.Damaged) as error:
            _log.warning("no copy of the store was made: path=%s error=%s", self.path, error)

    def _return_to_disk(self) -> None:
        """Leave the copy, in which nothing was changed, when the disk can be written by now."""
        if not disk.is_writable(self.path):
            raise ReadOnly(
                f"cannot record the change in {self.path}: the disk is read-only; make it writable and try again"
            )
        copy, self._db = self._db, self._begin()
        copy.close()
        _log.warning("disk is writable again: %s", self.path.parent)


def _row(change: Put | Drop) -> Row:
    return (change.kind, change.id, codec.encode(change.value) if isinstance(change, Put) else None)
