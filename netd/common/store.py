"""The document store: typed values by kind and id, in SQLite with a write-ahead log.

One thread does all writing, in the order of the calls.  A transaction is whole or absent after a crash; a
durable one has also reached the disk when ``write`` returns.  The store knows nothing of what it keeps.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from netd.common import codec, disk
from netd.common.disk import Reserve
from netd.common.errors import Problem, ReadOnly, ServerError

T = TypeVar("T")

_log = logging.getLogger(__name__)
_AGAIN = 2.0
"""Seconds until the reserve is tried again."""

Migration = Callable[[sqlite3.Connection], None]


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

    def __init__(self, path: Path, migrations: Sequence[Migration] = (), *, copies: Path | None = None) -> None:
        """Open or make the store at *path*; of a store that is there and whole nothing is written.

        *migrations* bring a store of schema 1, 2, … one further each; a store newer than this program is refused.
        On a read-only disk a copy in the folder *copies* is read, and changes are refused until the disk is writable.
        """
        self.path = path
        self._migrations = migrations
        self._copies = copies
        self._reserve = Reserve(path.with_name(f"{path.name}-reserve"))
        self._short = asyncio.Event()
        """Set while the reserve is not there."""
        self.read_only = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._db = self._thread.submit(self._begin).result()

    def load(self, kind: str, of: type[T]) -> dict[str, T]:
        """Return all values of a kind by id.  Raises ServerError naming the first that cannot be read."""
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

    async def note(self, *changes: Put | Drop) -> None:
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
        self._thread.submit(self._db.close).result()
        self._thread.shutdown()

    def _load(self, kind: str, of: type[T]) -> dict[str, T]:
        found = {}
        for key, body in self._db.execute("SELECT id, body FROM documents WHERE kind = ? ORDER BY rowid", (kind,)):
            try:
                found[key] = codec.decode(body, of)
            except msgspec.DecodeError as error:
                raise ServerError(f"{self.path} holds a {kind} {key} that cannot be read: {error}") from error
        return found

    def _write(self, rows: list[tuple[str, str, bytes | None]], durable: bool) -> None:
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

    def _write_in_reserve(self, rows: list[tuple[str, str, bytes | None]], durable: bool) -> bool:
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
            found = _open(self.path, self._migrations)
            if not self._reserve.fill():
                self._short.set()
                _log.warning("disk is full: %s", self.path.parent)
            return found
        if self._copies is None or not self.path.exists():
            raise ReadOnly(f"cannot open {self.path}: the disk is read-only; make it writable and start again")
        _log.warning("disk is read-only, changes are refused until it is writable: %s", self.path.parent)
        return _open(disk.copy_database(self.path, self._copies), self._migrations)

    def _execute(self, rows: list[tuple[str, str, bytes | None]], durable: bool) -> None:
        if self.read_only:
            self._return_to_disk()
        self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for kind, key, body in rows:
                if body is None:
                    self._db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, key))
                else:
                    self._db.execute(_PUT, (kind, key, body))

    def _return_to_disk(self) -> None:
        """Leave the copy, in which nothing was changed, when the disk can be written by now."""
        if not disk.is_writable(self.path):
            raise ReadOnly(
                f"cannot record the change in {self.path}: the disk is read-only; make it writable and try again"
            )
        copy, self._db = self._db, self._begin()
        copy.close()
        _log.warning("disk is writable again: %s", self.path.parent)


_PUT = (
    "INSERT INTO documents (kind, id, body) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body"
)


def _row(change: Put | Drop) -> tuple[str, str, bytes | None]:
    return (change.kind, change.id, codec.encode(change.value) if isinstance(change, Put) else None)


def _open(path: Path, migrations: Sequence[Migration]) -> sqlite3.Connection:
    current = len(migrations) + 1
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    if stat.S_IMODE(path.stat().st_mode) != 0o600:
        path.chmod(0o600)
    # No other process opens it: then the index of the log is in memory, and not in a file that takes room.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA busy_timeout = 5000")
    db.execute("PRAGMA journal_mode = WAL")
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > current:
        db.close()
        raise ServerError(
            f"{path} was written by a newer netd (schema {version}, this one knows {current}); upgrade netd"
        )
    if version == current:
        return db
    db.execute("BEGIN IMMEDIATE")
    if version == 0:
        db.execute("CREATE TABLE documents (kind TEXT, id TEXT, body BLOB NOT NULL, PRIMARY KEY (kind, id))")
    for migrate in migrations[max(version - 1, 0) :] if version else ():
        migrate(db)
    db.execute(f"PRAGMA user_version = {current}")
    db.execute("COMMIT")
    return db
