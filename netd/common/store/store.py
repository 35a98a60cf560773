"""The document store: typed values by kind and id, in SQLite with a write-ahead log.

One thread does all writing, in the order of the calls.  After a crash a transaction is complete or absent; a durable
one is synced to disk before ``write`` returns.  The store does not interpret the documents.

A copy of the file and a log of the changes since that copy are kept beside it; a lost or damaged file is rebuilt from
them (:mod:`netd.common.store.store_recovery`).  Damage is recorded as incidents, which ``accept_incidents``
deletes: until then records may be missing, and the daemon must not delete objects because the store has no record of
them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

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
_RETRY_SECONDS = 2.0
"""Seconds between attempts to allocate the reserve."""
_QUARANTINED = "quarantined-"
_MAX_LOG_BYTES = 1 << 18
"""Size of the change log, in bytes, above which a new copy is made."""
_COPY_INTERVAL = 60.0
"""Minimum seconds between two copies."""


@dataclass(frozen=True, slots=True)
class Put:
    """Insert or replace the document with this kind and id."""

    kind: str
    id: str
    value: object


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete the document with this kind and id; a missing document is no error."""

    kind: str
    id: str


class Store:
    """Documents in one file.  Open it once per process, and close it before the event loop ends."""

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Migration] = (),
        *,
        copies: Path | None = None,
        in_use: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open or create the store at *path*; opening an undamaged store writes nothing.

        *migrations* convert schema 1 to 2, 2 to 3, …; a store with a newer schema is refused.
        On a read-only disk the store is copied to the folder *copies* and read there, and changes are refused until
        the disk is writable.  An empty or missing store counts as lost if *in_use* returns True.
        """
        self.path = path
        self._migrations = migrations
        self._copies = copies
        self._reserve = Reserve(path.with_name(f"{path.name}-reserve"))
        self._reserve_missing = asyncio.Event()
        """Set while the reserve is missing."""
        self.read_only = False
        self._in_use = in_use
        self.faults: list[str] = []
        """Damage found by this process; a subset of ``incidents``."""
        self._incidents: list[str] = []
        self._number = 0
        self._changes = Changes(path)
        self._sync_pending = False
        self._copying: Future[None] | None = None
        self._copy_again = 0.0
        self._copier = ThreadPoolExecutor(1, thread_name_prefix="store-copy")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._db = self._thread.submit(self._open_on_disk).result()

    @property
    def incidents(self) -> list[str]:
        """Return the recorded damage that was not accepted yet, oldest first."""
        return list(self._incidents)

    def accept_incidents(self) -> None:
        """Accept the records as complete: delete the incidents, and the quarantined records."""
        self._thread.submit(self._accept_incidents).result()

    def load(self, kind: str, of: type[T]) -> dict[str, T]:
        """Return all values of a kind by id.  An unreadable record is quarantined and recorded as an incident."""
        return self._thread.submit(self._load, kind, of).result()

    async def write(self, *changes: Put | Drop, durable: bool = True, sync_after: bool = False) -> None:
        """Apply all changes in one transaction.

        With *sync_after*, which is for changes that are not durable, it is synced to disk right after the return: only
        a failure of the machine itself within these milliseconds loses it.

        Raises NoSpace if the disk is full, ReadOnly if it is not writable; nothing is changed then.  Transactions with
        a Drop may use the reserved disk space.  Values are encoded at the call, so later changes to them have no
        effect.  Cancelling the caller does not cancel the write.
        """
        rows = [_row(change) for change in changes]
        done = self._thread.submit(self._write, rows, durable)
        try:
            await asyncio.shield(asyncio.wrap_future(done))
            if sync_after:
                self._sync_soon()
        finally:
            if not self._reserve.held:
                self._reserve_missing.set()

    def _sync_soon(self) -> None:
        """Sync the write-ahead log after the transactions that are queued now; one sync serves all of them."""
        if not self._sync_pending:
            self._sync_pending = True
            self._thread.submit(self._sync)

    def _sync(self) -> None:
        self._sync_pending = False
        try:
            handle = os.open(self.path.with_name(f"{self.path.name}-wal"), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            _log.warning("record not synced: path=%s error=%s", self.path, error.strerror)

    async def snapshot(self) -> bytes:
        """Return the store as an SQLite file, consistent between two transactions."""
        return await asyncio.wrap_future(self._thread.submit(lambda: bytes(self._db.serialize())))

    async def write_best_effort(self, *changes: Put | Drop) -> None:
        """Record changes that the next start can derive again; a failure is logged and not raised."""
        try:
            await self.write(*changes, durable=False)
        except Problem as problem:
            _log.warning("record not written: path=%s error=%s", self.path, problem.message)

    async def keep_reserve(self) -> None:
        """Allocate the reserve again after it was used, as soon as the disk has space; runs until cancelled."""
        while True:
            await self._reserve_missing.wait()
            if await asyncio.wrap_future(self._thread.submit(self._fill_reserve)):
                self._reserve_missing.clear()
            else:
                await asyncio.sleep(_RETRY_SECONDS)

    def warnings(self) -> list[str]:
        """Return one sentence per fault of the disk."""
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
        fault = f"the store {self.path} held a {kind} {key} that cannot be read and is quarantined: {error}"
        self._record_faults([fault])
        try:
            self._write([(kind, key, None), (f"{_QUARANTINED}{kind}", key, body), incident(fault)], True)
        except Problem as problem:
            _log.warning("record not quarantined: kind=%s id=%s error=%s", kind, key, problem.message)

    def _record_faults(self, faults: Sequence[str]) -> None:
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

    def _fill_reserve(self) -> bool:
        return not self.read_only and self._reserve.fill()

    def _write_in_reserve(self, rows: list[Row], durable: bool) -> bool:
        """Retry after resetting the write-ahead log, then after releasing the reserve."""
        for with_reserve in (False, True):
            if with_reserve and not self._reserve.release():
                break
            with suppress(sqlite3.Error):
                # After this checkpoint SQLite overwrites the log from its beginning, which needs no further space.
                self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
                self._execute(rows, durable)
                return True
        return False

    def _open_on_disk(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o710)
        self.read_only = not disk.is_writable(self.path)
        if not self.read_only:
            found = self._open(self.path)
            if not self._reserve.fill():
                self._reserve_missing.set()
                _log.warning("disk is full: path=%s", self.path.parent)
            return found
        if self._copies is None or not self.path.exists():
            raise ReadOnly(f"cannot open {self.path}: the disk is read-only; make it writable and start again")
        _log.warning("disk is read-only, changes are refused until it is writable: path=%s", self.path.parent)
        return self._open(disk.copy_database(self.path, self._copies))

    def _open(self, path: Path) -> sqlite3.Connection:
        opened = open_store(path, self._migrations, self._in_use)
        self._db, self._number = opened.db, opened.number
        self._changes.size = opened.logged
        self._incidents = [found.text for found in self._load(INCIDENT, Incident).values()]
        self._record_faults(opened.faults)
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
        if not self._changes.append(self._number, rows) or self._changes.size > _MAX_LOG_BYTES:
            self._copy()

    def _copy(self) -> None:
        """Start a copy unless one was made recently: serialized here, written by another thread."""
        if time.monotonic() < self._copy_again or (self._copying is not None and not self._copying.done()):
            return
        self._copy_again = time.monotonic() + _COPY_INTERVAL
        try:
            self._changes.rotate()
            self._copying = self._copier.submit(self._put_copy, self._db.serialize())
        except (OSError, sqlite3.Error, MemoryError) as error:
            _log.warning("store not copied: path=%s error=%s", self.path, error)

    def _put_copy(self, data: bytes) -> None:
        try:
            store_file.put_copy(good(self.path), data)
            self._changes.forget_old()
        except (OSError, sqlite3.Error, store_file.Damaged) as error:
            _log.warning("store not copied: path=%s error=%s", self.path, error)

    def _return_to_disk(self) -> None:
        """Reopen the original store if the disk is writable now; nothing was changed in the copy."""
        if not disk.is_writable(self.path):
            raise ReadOnly(
                f"cannot record the change in {self.path}: the disk is read-only; make it writable and try again"
            )
        copy, self._db = self._db, self._open_on_disk()
        copy.close()
        _log.warning("disk is writable again: path=%s", self.path.parent)


def _row(change: Put | Drop) -> Row:
    return (change.kind, change.id, codec.encode(change.value) if isinstance(change, Put) else None)
