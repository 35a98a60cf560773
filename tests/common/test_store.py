"""The document store: acknowledged writes survive a crash, and a failed write changes nothing."""

import asyncio
import os
import signal
import subprocess
import sys

import msgspec
import pytest

from netd.common.errors import NoSpace, ServerError
from netd.common.store.store import Drop, Put, Store


class Thing(msgspec.Struct):
    name: str
    size: int = 0


def test_what_was_written_is_there_after_reopening(tmp_path):
    store = Store(tmp_path / "s.db")
    asyncio.run(store.write(Put("thing", "a", Thing("x", 1)), Put("thing", "b", Thing("y"))))
    asyncio.run(
        store.write(Put("thing", "a", Thing("z", 2)), Drop("thing", "b"), Drop("thing", "never"), durable=False)
    )
    store.close()
    again = Store(tmp_path / "s.db")
    assert again.load("thing", Thing) == {"a": Thing("z", 2)}
    assert again.load("other", Thing) == {}
    again.close()


def test_acknowledged_writes_survive_kill_9(tmp_path):
    code = (
        "import asyncio, sys, pathlib\n"
        "from netd.common.store.store import Store, Put\n"
        "async def main():\n"
        "    store = Store(pathlib.Path(sys.argv[1]))\n"
        "    for n in range(10000):\n"
        "        await store.write(Put('thing', str(n), {'name': 'n', 'size': n}), durable=False)\n"
        "        print(n, flush=True)\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "s.db"], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) >= 50:
            break
    os.kill(process.pid, signal.SIGKILL)
    seen = [int(line), *map(int, process.stdout.read().split())]
    process.wait()
    store = Store(tmp_path / "s.db")
    found = store.load("thing", Thing)
    assert set(map(str, range(seen[-1] + 1))) <= set(found)
    store.close()


def test_a_full_disk_raises_no_space_and_changes_nothing(tmp_path):
    store = Store(tmp_path / "s.db")
    asyncio.run(store.write(Put("thing", "a", Thing("x"))))
    pages = store._thread.submit(lambda: store._db.execute("PRAGMA page_count").fetchone()[0]).result()
    store._thread.submit(lambda: store._db.execute(f"PRAGMA max_page_count = {pages}")).result()
    with pytest.raises(NoSpace, match="free some space"):
        asyncio.run(store.write(Put("thing", "a", Thing("changed")), Put("thing", "b", Thing("y" * 100000))))
    assert store.load("thing", Thing) == {"a": Thing("x")}
    asyncio.run(store.write(Drop("thing", "a")))
    assert store.load("thing", Thing) == {}
    store.close()


def test_opening_a_store_writes_nothing_to_it(tmp_path):
    store = Store(tmp_path / "s.db")
    asyncio.run(store.write(Put("thing", "a", Thing("x"))))
    store.close()
    before = {path.name: (path.read_bytes(), path.stat().st_ctime_ns) for path in tmp_path.iterdir()}
    store = Store(tmp_path / "s.db")
    assert store.load("thing", Thing) == {"a": Thing("x")}
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()}["s.db-wal"] == 0
    store.close()
    assert {path.name: (path.read_bytes(), path.stat().st_ctime_ns) for path in tmp_path.iterdir()} == before


def test_a_newer_store_is_refused_and_an_older_one_is_migrated(tmp_path):
    Store(tmp_path / "s.db").close()
    insert = "INSERT INTO documents (kind, id, body) VALUES ('thing', 'm', '{\"name\":\"m\"}')"
    migrated = Store(tmp_path / "s.db", [lambda db: db.execute(insert)])
    assert migrated.load("thing", Thing) == {"m": Thing("m")}
    migrated.close()
    with pytest.raises(ServerError, match="upgrade netd"):
        Store(tmp_path / "s.db")
