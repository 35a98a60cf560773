"""The document store: typed values by kind and id, in SQLite with a write-ahead log.

One thread does all writing, in the order of the calls.  A transaction is whole or absent after a crash; a
durable one has also reached the disk when ``write`` returns.  The store knows nothing of what it keeps.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from netd.common import codec
from netd.common.errors import NoSpace, Problem, ServerError

T = TypeVar("T")

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

    def __init__(self, path: Path, migrations: Sequence[Migration] = ()) -> None:
        """Open or make the store at *path*.

        *migrations* bring a store of schema 1, 2, … one further each; a store newer than this program is refused.
        """
        self.path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._db = self._thread.submit(_open, path, migrations).result()

    def load(self, kind: str, of: type[T]) -> dict[str, T]:
        """Return all values of a kind by id.  Raises ServerError naming the first that cannot be read."""
        return self._thread.submit(self._load, kind, of).result()

    async def write(self, *changes: Put | Drop, durable: bool = True) -> None:
        """Carry out all changes in one transaction.  Raises NoSpace when the disk is full; nothing is changed then.

        Values are encoded at the call, so later changes to them do not matter.  The write happens even
        if the caller is cancelled meanwhile.
        """
        rows = [_row(change) for change in changes]
        done = self._thread.submit(self._write, rows, durable)
        await asyncio.shield(asyncio.wrap_future(done))

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
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                for kind, key, body in rows:
                    if body is None:
                        self._db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, key))
                    else:
                        self._db.execute(_PUT, (kind, key, body))
        except sqlite3.OperationalError as error:
            raise _problem(error, self.path) from error


_PUT = (
    "INSERT INTO documents (kind, id, body) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body"
)


def _row(change: Put | Drop) -> tuple[str, str, bytes | None]:
    return (change.kind, change.id, codec.encode(change.value) if isinstance(change, Put) else None)


def _problem(error: sqlite3.OperationalError, path: Path) -> Problem:
    if "full" in str(error) or "disk I/O" in str(error):
        return NoSpace(f"cannot record the change in {path}: {error}; free some space and try again")
    return ServerError(f"cannot record the change in {path}: {error}")


def _open(path: Path, migrations: Sequence[Migration]) -> sqlite3.Connection:
    current = len(migrations) + 1
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o710)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    path.chmod(0o600)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA busy_timeout = 5000")
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > current:
        db.close()
        raise ServerError(
            f"{path} was written by a newer netd (schema {version}, this one knows {current}); upgrade netd"
        )
    db.execute("BEGIN IMMEDIATE")
    if version == 0:
        db.execute("CREATE TABLE documents (kind TEXT, id TEXT, body BLOB NOT NULL, PRIMARY KEY (kind, id))")
    for migrate in migrations[max(version - 1, 0) :] if version else ():
        migrate(db)
    db.execute(f"PRAGMA user_version = {current}")
    db.execute("COMMIT")
    return db
