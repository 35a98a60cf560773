"""Stores of other versions: older ones are migrated and kept, newer ones are refused without a change."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import msgspec
import pytest

from netd.common.errors import ServerError
from netd.common.store.store import Put, Store


class Thing(msgspec.Struct):
    name: str
    size: int = 0


def enlarge(db: sqlite3.Connection) -> None:
    """A migration: names get a suffix."""
    db.execute("UPDATE documents SET body = replace(body, '\"a\"', '\"a2\"'), checksum = NULL WHERE kind = 'thing'")


@pytest.fixture
def path(tmp_path):
    """A store of schema 1 with one record."""
    store = Store(tmp_path / "s.db")
    asyncio.run(store.write(Put("thing", "t", Thing("a", 1))))
    store.close()
    return tmp_path / "s.db"


def contents(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_a_newer_store_is_refused_and_no_file_is_changed(path):
    Store(path, [enlarge]).close()
    before = contents(path)
    with pytest.raises(ServerError) as refusal:
        Store(path)
    assert refusal.value.message == (
        f"{path} was written by a newer netd (schema 2, this one knows 1); upgrade netd, or restore s.db.schema-1 as"
        " docs/recovery.md says"
    )
    assert contents(path) == before
    again = Store(path, [enlarge])
    assert again.load("thing", Thing) == {"t": Thing("a2", 1)}
    again.close()


def test_a_newer_store_without_a_copy_is_refused_with_what_helps(path):
    Store(path, [enlarge]).close()
    path.with_name("s.db.schema-1").unlink()
    with pytest.raises(ServerError, match=r"this one knows 1\); upgrade netd\Z"):
        Store(path)


def test_the_store_before_a_migration_can_be_restored(path):
    migrated = Store(path, [enlarge])
    asyncio.run(migrated.write(Put("thing", "later", Thing("b"))))
    migrated.close()
    for name in (".good", ".changes", ".changes.old", "-wal", "-shm", ""):
        path.with_name(path.name + name).unlink(missing_ok=True)
    path.with_name("s.db.schema-1").rename(path)
    former = Store(path)
    assert former.load("thing", Thing) == {"t": Thing("a", 1)} and not former.faults
    former.close()


def test_a_migration_that_fails_changes_nothing(path):
    def fail(db: sqlite3.Connection) -> None:
        enlarge(db)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Store(path, [fail])
    former = Store(path)
    assert former.load("thing", Thing) == {"t": Thing("a", 1)}
    former.close()


def test_every_migration_from_the_schema_of_the_file_on_is_carried_out_once(path):
    done = []
    steps = [lambda _, number=number: done.append(number) for number in (2, 3, 4)]
    Store(path, steps[:1]).close()
    Store(path, steps).close()
    Store(path, steps).close()
    assert done == [2, 3, 4]
    assert {file.name for file in path.parent.glob("*.schema-*")} == {"s.db.schema-1", "s.db.schema-2"}


def test_the_format_without_checksums_and_numbers_is_read(tmp_path):
    """The first format: one table, no numbers of transactions."""
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE documents (kind TEXT, id TEXT, body BLOB NOT NULL, PRIMARY KEY (kind, id))")
        db.execute("INSERT INTO documents VALUES ('thing', 't', ?)", (b'{"name":"a","size":1}',))
        db.execute("PRAGMA user_version = 1")
    store = Store(path)
    assert store.load("thing", Thing) == {"t": Thing("a", 1)} and not store.faults
    asyncio.run(store.write(Put("thing", "u", Thing("b"))))
    store.close()
    store = Store(path)
    assert store.load("thing", Thing) == {"t": Thing("a", 1), "u": Thing("b")} and not store.faults
    store.close()


def test_fields_that_this_version_does_not_know_are_no_damage(path):
    """A record of a newer version with the same schema: an older version reads what it knows."""

    class Larger(Thing):
        colour: str = "red"

    store = Store(path)
    asyncio.run(store.write(Put("thing", "t", Larger("c", 3))))
    store.close()
    store = Store(path)
    assert store.load("thing", Thing) == {"t": Thing("c", 3)} and not store.faults
    store.close()
