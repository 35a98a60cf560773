"""A lost, truncated or modified store: all records are restored, or the loss is reported."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netd.common.store.store import Drop, Put, Store

OFFSETS = st.integers(0, 1 << 24)
FILES = ("s.db", "s.db-wal", "s.db.good", "s.db.changes")
WRITER = """
import asyncio, os, pathlib, signal, sys
from netd.common.store.store import Drop, Put, Store
path = pathlib.Path(sys.argv[1])
async def main():
    store = Store(path)
    for n in range(60):
        await store.write(Put("thing", f"early{n}", {"name": "n" * 50, "size": n}))
    await asyncio.wrap_future(store._thread.submit(store._copy))
    store.close()
    store = Store(path)
    for n in range(60):
        await store.write(Put("thing", f"late{n}", {"name": "m" * 50, "size": n}), Drop("thing", f"early{n // 2}"))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


class Thing(msgspec.Struct):
    name: str
    size: int = 0


EARLY = {f"early{n}": Thing("n" * 50, n) for n in range(30, 60)}
EXPECTED = EARLY | {f"late{n}": Thing("m" * 50, n) for n in range(60)}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The files of a store after its daemon was killed; the file, the copy and the logs each hold some changes."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, "-c", WRITER, folder / "s.db"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert all((folder / name).stat().st_size for name in FILES)
    return folder


@pytest.fixture(scope="module")
def damage(killed):
    """Return a function that copies the folder of the killed store."""

    def fresh():
        folder = killed.with_name("fresh")
        shutil.rmtree(folder, ignore_errors=True)
        return shutil.copytree(killed, folder)

    return fresh


def opened(folder, in_use=False):
    """Return the records and incidents after a start, and assert that a second start finds the same."""
    found = []
    for _ in range(2):
        store = Store(folder / "s.db", in_use=lambda: in_use)
        found.append((store.load("thing", Thing), store.incidents))
        store.close()
    assert found[0] == found[1]
    return found[0]


def flip(path, where, mask):
    data = bytearray(path.read_bytes())
    data[where % len(data)] ^= mask
    path.write_bytes(data)


def cut(path, where):
    os.truncate(path, where % path.stat().st_size)


def test_the_files_of_a_killed_daemon_are_whole(damage):
    assert opened(damage()) == (EXPECTED, [])


@settings(max_examples=60)
@given(st.sampled_from(FILES), OFFSETS, st.integers(1, 255) | st.none())
def test_any_change_or_cut_in_any_file_loses_nothing(damage, name, where, mask):
    folder = damage()
    flip(folder / name, where, mask) if mask else cut(folder / name, where)
    assert opened(folder)[0] == EXPECTED


@settings(max_examples=25)
@example([("s.db", 4022, 128), ("s.db-wal", 0, 0)])
@given(st.lists(st.tuples(st.sampled_from(FILES), OFFSETS, st.integers(0, 255)), min_size=2, max_size=6))
def test_several_damages_are_repaired_or_reported(damage, damages):
    folder = damage()
    for name, where, mask in damages:
        if (folder / name).stat().st_size:
            flip(folder / name, where, mask) if mask else cut(folder / name, where)
    found, incidents = opened(folder, in_use=True)
    # Truncating the same changes from both logs is indistinguishable from changes that were never made.
    assert found == EXPECTED or incidents or {"s.db-wal", "s.db.changes"} <= {name for name, *_ in damages}


@pytest.mark.parametrize("way", ["missing", "zero", "valid", "unreadable"])
def test_an_empty_store_is_rebuilt_and_what_was_there_set_aside(damage, way):
    folder = damage()
    (folder / "s.db-wal").unlink()
    (folder / "s.db").unlink()
    if way == "zero":
        (folder / "s.db").touch()
    if way == "valid":
        Store(folder / "other.db").close()
        (folder / "other.db").rename(folder / "s.db")
    if way == "unreadable":
        (folder / "s.db").write_bytes(os.urandom(9000))
    found, incidents = opened(folder)
    assert found == EXPECTED
    assert len(incidents) == 1 and "damaged" in incidents[0]
    assert bool(list(folder.glob("s.db.damaged-*"))) == (way != "missing")


def test_a_store_lost_with_its_copy_is_an_incident_if_it_was_in_use(tmp_path):
    (tmp_path / "new").mkdir()
    assert opened(tmp_path / "new") == ({}, [])
    shutil.rmtree(tmp_path / "new")
    found, incidents = opened(tmp_path / "new", in_use=True)
    assert found == {} and "missing or empty" in incidents[0]


def test_incidents_stay_until_they_are_accepted(damage):
    folder = damage()
    os.truncate(folder / "s.db", 5000)
    (folder / "s.db-wal").unlink()
    opened(folder)
    store = Store(folder / "s.db")
    assert store.incidents and not store.faults
    store.accept_incidents()
    assert not store.incidents
    store.close()
    assert opened(folder) == (EXPECTED, [])


def test_an_unreadable_record_is_quarantined_and_the_rest_is_loaded(tmp_path):
    store = Store(tmp_path / "s.db")
    asyncio.run(store.write(Put("thing", "good", Thing("x")), Put("thing", "bad", {"name": 7})))
    store.close()
    found, incidents = opened(tmp_path)
    assert found == {"good": Thing("x")}
    assert len(incidents) == 1 and "thing bad" in incidents[0]
    with sqlite3.connect(tmp_path / "s.db") as db:
        kept = db.execute("SELECT body FROM documents WHERE kind = 'quarantined-thing'").fetchall()
    assert kept == [(b'{"name":7}',)]


def test_a_copy_that_fails_or_is_killed_does_no_harm(damage, monkeypatch, caplog):
    folder = damage()
    (folder / "s.db.good.new").write_bytes(b"half of a copy")
    monkeypatch.setattr("netd.common.store.store._MAX_LOG_BYTES", 0)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    before = (folder / "s.db.good").read_bytes()
    store = Store(folder / "s.db")
    asyncio.run(store.write(Put("thing", "new", Thing("x")), Drop("thing", "new")))
    store.close()
    assert "store not copied" in caplog.text
    assert (folder / "s.db.good").read_bytes() == before and not (folder / "s.db.good.new").exists()
    monkeypatch.undo()
    (folder / "s.db").unlink()
    assert opened(folder)[0] == EXPECTED


def test_a_log_of_changes_that_grew_is_replaced_by_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr("netd.common.store.store._MAX_LOG_BYTES", 5000)
    monkeypatch.setattr("netd.common.store.store._COPY_INTERVAL", 0)
    store = Store(tmp_path / "s.db")
    for n in range(100):
        asyncio.run(store.write(Put("thing", str(n), Thing("x" * 200, n)), durable=False))
    store.close()
    assert (tmp_path / "s.db.good").exists()
    (tmp_path / "s.db").unlink()
    assert len(opened(tmp_path)[0]) == 100
