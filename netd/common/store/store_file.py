"""One SQLite file of documents: opening, checking, reading and copying it.

Every document has a checksum, and the file holds the number of its last transaction, because SQLite detects neither a
changed byte inside a value nor a truncated write-ahead log.  Decisions about damage are in
:mod:`netd.common.store.store_recovery`.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from netd.common.errors import ServerError
from netd.common.store.change_log import Row

Migration = Callable[[sqlite3.Connection], None]

SUFFIXES = ("", "-wal", "-shm")
_DAMAGE = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_NOTADB,
)
_FORMATS, _FORMAT_AT = b"\x01\x02", 18
"""https://sqlite.org/fileformat.html, 1.3.3: a file with a later write version is read-only."""
_ALL = "SELECT CAST(kind AS BLOB), CAST(id AS BLOB), CAST(body AS BLOB), checksum, rowid FROM documents ORDER BY rowid"
_PUT = (
    "INSERT INTO documents (kind, id, body, checksum) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, checksum = excluded.checksum"
)


class Damaged(Exception):
    """The file is not an intact store; the message is the reason."""


class StoreContent(NamedTuple):
    number: int
    """The number of the last transaction."""
    rows: list[Row]
    bad: list[Row]
    """Documents with a wrong checksum, as stored."""


def connect(path: Path, migrations: Sequence[Migration] = ()) -> sqlite3.Connection:
    """Open the file, create it if it is missing, and migrate it to the current schema.

    Before a migration the file is copied to PATH.schema-N, for a return to the former version.  Raises Damaged, and
    ServerError for a file with a newer schema, which is not changed.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    if stat.S_IMODE(path.stat().st_mode) != 0o600:
        path.chmod(0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _begin(db, path, migrations)
    except sqlite3.DatabaseError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY and _is_of_later_format(path):
            raise Damaged("its header is damaged") from error
        raise damage(error) from error
    except UnicodeDecodeError as error:
        # The text of SQLite's error quotes damaged bytes.
        db.close()
        raise Damaged("its schema is damaged") from error
    except BaseException:
        db.close()
        raise
    return db


def damage(error: sqlite3.DatabaseError) -> Exception:
    """Return Damaged for an error caused by the file's content, any other error unchanged."""
    return Damaged(str(error)) if (error.sqlite_errorcode & 0xFF) in _DAMAGE else error


def is_empty(path: Path) -> bool:
    """Return whether the file and its write-ahead log are missing or empty."""
    return not any(found.exists() and found.stat().st_size for found in (path, path.with_name(f"{path.name}-wal")))


def check(db: sqlite3.Connection) -> StoreContent:
    """Return the content of the file.  Raises Damaged if its structure is damaged."""
    try:
        result = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if result != "ok":
            raise Damaged(str(result))
        content = StoreContent(int(db.execute("SELECT number FROM progress").fetchone()[0]), [], [])
        for kind, key, body, expected, _ in db.execute(_ALL):
            row = (kind.decode(errors="replace"), key.decode(errors="replace"), body)
            whole = expected is None or expected == checksum(kind, key, body)
            (content.rows if whole else content.bad).append(row)
    except sqlite3.DatabaseError as error:
        raise damage(error) from error
    except (TypeError, AttributeError, ValueError) as error:
        raise Damaged(f"a value has the wrong type: {error}") from error
    return content


def change(db: sqlite3.Connection, number: int, rows: Iterable[Row]) -> bool:
    """Apply all changes as transaction *number*; return False, without a transaction, if they changed nothing."""
    before = db.total_changes
    with db:
        db.execute("BEGIN IMMEDIATE")
        for kind, key, body in rows:
            if body is None:
                db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, key))
            else:
                db.execute(_PUT, (kind, key, body, checksum(kind.encode(), key.encode(), body)))
        if db.total_changes == before:
            # Without this update nothing is written, which succeeds on a full disk.
            return False
        db.execute("UPDATE progress SET number = ?", (number,))
    return True


def set_bad_aside(db: sqlite3.Connection) -> None:
    """Move the documents with a wrong checksum to the table ``damaged``."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE IF NOT EXISTS damaged (kind BLOB, id BLOB, body BLOB)")
        for kind, key, body, expected, rowid in db.execute(_ALL).fetchall():
            if expected is not None and expected != checksum(kind, key, body):
                db.execute("INSERT INTO damaged VALUES (?, ?, ?)", (kind, key, body))
                db.execute("DELETE FROM documents WHERE rowid = ?", (rowid,))


def checksum(kind: bytes, key: bytes, body: bytes) -> int:
    return zlib.crc32(b"\0".join((kind, key, body)))


def put_copy(target: Path, data: bytes) -> None:
    """Write *data*, the result of ``serialize``, to *target* atomically, checked and synced.

    Raises Damaged, sqlite3.Error or OSError; *target* is unchanged then.
    """
    fresh = target.with_name(f"{target.name}.new")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        if read(fresh).bad:
            raise Damaged("documents have wrong checksums")
        fresh.rename(target)
        _sync(target.parent)
    finally:
        fresh.unlink(missing_ok=True)


def read(path: Path) -> StoreContent:
    """Return the content of a copy.  Raises Damaged, also if the copy is missing."""
    if is_empty(path):
        raise Damaged("it is missing or empty")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as db:
            return check(db)
    except sqlite3.DatabaseError as error:
        raise damage(error) from error


def set_aside(path: Path, moment: str) -> list[Path]:
    """Rename the file and its write-ahead log to PATH.damaged-*moment*; return the new paths."""
    moved = []
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    for suffix in SUFFIXES:
        found = path.with_name(path.name + suffix)
        if found.exists():
            moved.append(found.rename(path.with_name(f"{path.name}.damaged-{moment}{suffix}")))
    return moved


def _begin(db: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    current = len(migrations) + 1
    # No other process opens the file.  In exclusive mode the log's index (-shm) is in memory and needs no disk space.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA busy_timeout = 5000")
    db.execute("PRAGMA journal_mode = WAL")
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    tables = set(_names(db, "SELECT name FROM sqlite_schema WHERE type = 'table'"))
    if version and "documents" not in tables:
        raise Damaged("the table of documents is missing")
    recorded = int(db.execute("SELECT schema FROM progress").fetchone()[0]) if "progress" in tables else version
    if recorded != version:
        raise Damaged(f"its schema is {version} in one place and {recorded} in another")
    if version > current:
        raise _newer(path, version, current)
    columns = set(_names(db, "SELECT name FROM pragma_table_info('documents')"))
    if version == current and "progress" in tables and "checksum" in columns:
        return
    if 0 < version < current:
        _keep(path.with_name(f"{path.name}.schema-{version}"), db.serialize())
    db.execute("BEGIN IMMEDIATE")
    if not columns:
        db.execute(
            "CREATE TABLE documents (kind TEXT, id TEXT, body BLOB NOT NULL, checksum INTEGER, PRIMARY KEY (kind, id))"
        )
    elif "checksum" not in columns:
        db.execute("ALTER TABLE documents ADD COLUMN checksum INTEGER")
    if "progress" not in tables:
        db.execute("CREATE TABLE progress (number INTEGER NOT NULL, schema INTEGER NOT NULL)")
        db.execute("INSERT INTO progress VALUES (0, ?)", (current,))
    for migrate in migrations[max(version - 1, 0) :] if version else ():
        migrate(db)
    db.execute("UPDATE progress SET schema = ?", (current,))
    db.execute(f"PRAGMA user_version = {current}")
    db.execute("COMMIT")


def _newer(path: Path, version: int, current: int) -> ServerError:
    """Return the refusal of a file whose schema is *version*, with the way back that its migration has left."""
    former = path.with_name(f"{path.name}.schema-{current}")
    way = f"upgrade netd, or restore {former.name} as docs/recovery.md says" if former.exists() else "upgrade netd"
    return ServerError(f"{path} was written by a newer netd (schema {version}, this one knows {current}); {way}")


def _keep(target: Path, data: bytes) -> None:
    """Write *data* to *target* atomically and synced, unless it exists.  Raises OSError."""
    if target.exists():
        return
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    fresh.rename(target)
    _sync(target.parent)


def _is_of_later_format(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_FORMAT_AT + 1)[-1] not in _FORMATS


def _names(db: sqlite3.Connection, query: str) -> Iterator[str]:
    return (str(row[0]) for row in db.execute(query).fetchall())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
