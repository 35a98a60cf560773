"""Opens a store that may be lost, damaged or outdated: checks it, sets a damaged one aside, rebuilds it from its copy.

A store has a copy (PATH.good) and a log of the changes since (PATH.changes).  Damage is reported as a fault of one
sentence; nothing of the damaged file is deleted.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from netd.common import codec
from netd.common.errors import ServerError
from netd.common.ids import now
from netd.common.store import change_log, store_file
from netd.common.store.change_log import ChangeEntry, Row
from netd.common.store.store_file import Damaged, Migration, StoreContent

INCIDENT = "store-incident"
"""The kind of the documents that record damage."""
_log = logging.getLogger(__name__)


class Incident(msgspec.Struct, frozen=True):
    """Damage of the store, recorded in the store."""

    at: str
    text: str


@dataclass(slots=True)
class OpenedStore:
    db: sqlite3.Connection
    number: int
    """The number of the last transaction."""
    faults: list[str] = field(default_factory=list)
    """Damage found; recorded as incidents."""
    logged: int = 0
    """Size of the change log in bytes."""
    needs_copy: bool = False
    """The copy and the log together differ from the store."""


def open_store(path: Path, migrations: Sequence[Migration], in_use: Callable[[], bool]) -> OpenedStore:
    """Open the store, or rebuild it from its copy and its log.

    *in_use* returns whether other files show that a store existed.  Raises ServerError if the store can neither be
    opened nor rebuilt, for instance on a full or read-only disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o710)
    try:
        return _open(path, migrations, in_use)
    except (OSError, sqlite3.Error, Damaged) as error:
        raise ServerError(
            f"cannot open the store {path}: {error}; make its disk writable, or free some space"
        ) from error


def good(path: Path) -> Path:
    """Return the path of a store's copy."""
    return path.with_name(f"{path.name}.good")


def incident(text: str) -> Row:
    """Return the document that records *text* as an incident."""
    found = Incident(now(), text)
    return INCIDENT, found.at, codec.encode(found)


def _open(path: Path, migrations: Sequence[Migration], in_use: Callable[[], bool]) -> OpenedStore:
    entries = change_log.read(path)
    base = _base(path)
    newest = max(entries[-1].number if entries else 0, base.number)
    empty = store_file.is_empty(path)
    if empty and not newest and not in_use():
        return OpenedStore(store_file.connect(path, migrations), 0)
    db: sqlite3.Connection | None = None
    try:
        if empty:
            raise Damaged("it is missing or empty")
        db = store_file.connect(path, migrations)
        content = store_file.check(db)
        if not content.number and not content.rows and in_use():
            raise Damaged("it holds nothing")
        if content.number < base.number:
            raise Damaged(f"it ends at change {content.number}, its copy at {base.number}")
    except Damaged as damage:
        return _rebuild(path, migrations, base, entries, str(damage), db)
    opened = OpenedStore(db, max(content.number, newest), logged=change_log.size(path))
    _replay(path, opened, content.number, entries)
    _restore_documents(path, opened, content, base, entries)
    later = [entry.number for entry in entries if entry.number > base.number]
    covered = base.number + len(later) == content.number and not (content.rows and not content.number)
    opened.needs_copy = bool(opened.faults) or not covered
    return opened


def _base(path: Path) -> StoreContent:
    try:
        return store_file.read(good(path))
    except Damaged as damage:
        if good(path).exists():
            _log.warning("copy of the store is unusable: path=%s error=%s", good(path), damage)
        return StoreContent(0, [], [])


def _rebuild(
    path: Path,
    migrations: Sequence[Migration],
    base: StoreContent,
    entries: Sequence[ChangeEntry],
    reason: str,
    db: sqlite3.Connection | None,
) -> OpenedStore:
    moved = store_file.set_aside(path, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    if db is not None:
        db.close()
    rows = _replica(base, entries)
    number = max(entries[-1].number if entries else 0, base.number) + 1
    later = [entry.number for entry in entries if entry.number > base.number]
    source = f"its copy and {len(later)} later changes" if base.rows else f"{len(later)} logged changes"
    fault = f"the store {path} was damaged ({reason})"
    fault += f" and is set aside as {moved[0]}" if moved else ""
    fault += f"; {len(rows)} records were restored from {source}{_lost_changes(base.number, later)}"
    restored: list[Row] = [(kind, key, body) for (kind, key), body in rows.items()]
    _make(path, migrations, number, [*restored, incident(fault)])
    return OpenedStore(store_file.connect(path, migrations), number, [fault], needs_copy=True)


def _make(path: Path, migrations: Sequence[Migration], number: int, rows: Sequence[Row]) -> None:
    """Create a store with *rows* atomically."""
    fresh = path.with_name(f"{path.name}.new")
    for suffix in store_file.SUFFIXES:
        path.with_name(fresh.name + suffix).unlink(missing_ok=True)
    db = store_file.connect(fresh, migrations)
    try:
        store_file.change(db, number, rows)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        db.close()
    os.replace(fresh, path)


def _replay(path: Path, opened: OpenedStore, number: int, entries: Sequence[ChangeEntry]) -> None:
    """Apply logged transactions that the store lacks: its write-ahead log was lost, or not synced before a crash."""
    later = [entry for entry in entries if entry.number > number]
    if not later:
        return
    rows = [row for entry in later for row in entry.changes()]
    if gap := _lost_changes(number, [entry.number for entry in later]):
        fault = f"the store {path} was outdated; {len(later)} changes were restored from its log{gap}"
        opened.faults.append(fault)
        rows.append(incident(fault))
    store_file.change(opened.db, opened.number, rows)
    _log.warning("store was outdated: path=%s changes-replayed=%d", path, len(later))


def _restore_documents(
    path: Path, opened: OpenedStore, content: StoreContent, base: StoreContent, entries: Sequence[ChangeEntry]
) -> None:
    """Restore documents with wrong checksums from the copy and the log."""
    if not content.bad:
        return
    replica = _replica(base, entries)
    rows: list[Row] = [(kind, key, replica[kind, key]) for kind, key, _ in content.bad if (kind, key) in replica]
    names = ", ".join(f"{kind} {key}" for kind, key, _ in content.bad)
    fault = (
        f"{len(content.bad)} records of the store {path} were damaged ({names});"
        f" {len(rows)} of them were restored from its copy"
    )
    opened.faults.append(fault)
    opened.number += 1
    store_file.change(opened.db, opened.number, [*rows, incident(fault)])
    store_file.set_bad_aside(opened.db)


def _replica(base: StoreContent, entries: Sequence[ChangeEntry]) -> dict[tuple[str, str], bytes]:
    """Return the documents of the copy with the later changes applied, by kind and id."""
    rows: dict[tuple[str, str], bytes] = {}
    later = (row for entry in entries if entry.number > base.number for row in entry.changes())
    for kind, key, body in (*base.rows, *later):
        _put(rows, (kind, key, body))
    return rows


def _put(rows: dict[tuple[str, str], bytes], row: Row) -> None:
    kind, key, body = row
    if body is None:
        rows.pop((kind, key), None)
    else:
        rows[kind, key] = body


def _lost_changes(number: int, later: Sequence[int]) -> str:
    """Return a clause with the number of changes after *number* that *later* lacks; "" if none is missing."""
    missing = (later[-1] - number - len(later)) if later else 0
    return f"; {missing} changes are lost" if missing else ""
