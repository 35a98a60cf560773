"""Reading the json-file logs that shims write."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.log_reader import LogFilter, Reader, nanoseconds, read
from runtime.shim.jsonlog import JsonLog


def everything(path: Path, **wanted) -> list[bytes]:
    async def collect():
        return [line.text async for batch in read(path, LogFilter(**wanted)) for line in batch]

    return asyncio.run(collect())


def write(path: Path, count: int, **bounds) -> list[bytes]:
    log = JsonLog(str(path), **bounds)
    lines = [b"line %d %s\n" % (number, b"x" * (number % 50)) for number in range(count)]
    for line in lines:
        log.write(1, line)
    log.close()
    return lines


def test_a_log_that_is_not_there_is_empty(tmp_path):
    assert everything(tmp_path / "log") == []


@pytest.mark.parametrize("tail", [None, 0, 1, 7, 1000, 5000])
def test_the_last_lines(tmp_path, tail):
    lines = write(tmp_path / "log", 2000)
    expected = lines if tail is None else lines[len(lines) - tail :] if tail <= len(lines) else lines
    assert everything(tmp_path / "log", tail=tail) == expected


@given(count=st.integers(0, 120), tail=st.none() | st.integers(0, 130), size=st.integers(200, 4000))
@settings(max_examples=60, deadline=None)
def test_the_last_lines_across_rotated_files(tmp_path_factory, count, tail, size):
    path = tmp_path_factory.mktemp("log") / "log"
    lines = write(path, count, max_size=size, max_files=50)
    assert everything(path, tail=tail) == (lines if tail is None else lines[max(0, count - tail) :])


def test_streams_times_and_long_lines(tmp_path):
    log = JsonLog(str(tmp_path / "log"))
    log.write(1, b"out\n")
    log.write(2, b"err\n")
    log.write(1, "é\ufffd".encode() + b"\xff" + b"y" * 20000 + b"\n")
    log.close()
    assert everything(tmp_path / "log", streams=frozenset({2})) == [b"err\n"]
    assert b"".join(everything(tmp_path / "log", streams=frozenset({1}))) == (
        b"out\n" + "é\ufffd\ufffd".encode() + b"y" * 20000 + b"\n"
    )

    async def times():
        return [line async for batch in read(tmp_path / "log", LogFilter()) for line in batch]

    lines = asyncio.run(times())
    moments = [nanoseconds(line.time) for line in lines]
    assert moments == sorted(moments)
    assert everything(tmp_path / "log", since=moments[1] + 1) == [
        line.text for line in lines[2:] if nanoseconds(line.time) > moments[1]
    ]
    assert everything(tmp_path / "log", until=moments[0]) == [
        line.text for line in lines if nanoseconds(line.time) <= moments[0]
    ]
    assert lines[0].timestamp().endswith(b"Z ") and len(lines[0].timestamp()) == len("2026-01-01T00:00:00.000000000Z ")


@pytest.mark.parametrize("bounds", [{}, {"max_size": 300, "max_files": 3}])
def test_following_sees_every_line_until_the_end(tmp_path, bounds):
    """Each line is written after the previous one was received, so that the reader sees every rotated file."""

    async def follow():
        log, ended = JsonLog(str(tmp_path / "log"), **bounds), asyncio.get_running_loop().create_future()
        log.write(1, b"0\n")
        found = []
        async for batch in read(tmp_path / "log", LogFilter(), ended):
            found += [line.text for line in batch]
            if len(found) < 40:
                log.write(1, b"%d\n" % len(found))
            elif not ended.done():
                log.close()
                ended.set_result(0)
        return found

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == [b"%d\n" % number for number in range(40)]


def test_a_follower_that_falls_behind_several_rotations_skips_no_file(tmp_path):
    """The reader has read the first file when four rotations happen, of which each file is still there."""
    path = tmp_path / "log"
    log = JsonLog(str(path), max_size=200, max_files=20)
    for number in range(3):
        log.write(1, b"%d\n" % number)
    reader = Reader(path, None)
    found = [line.text for line in reader.batch()]
    for number in range(3, 30):
        log.write(1, b"%d\n" % number)
    while lines := reader.batch():
        found += [line.text for line in lines]
    assert path.with_name("log.4").exists()
    assert found == [b"%d\n" % number for number in range(30)]
    reader.close()


def test_rotations_while_older_files_are_read_skip_no_file(tmp_path):
    path = tmp_path / "log"
    log = JsonLog(str(path), max_size=200, max_files=30)
    for number in range(12):
        log.write(1, b"%d\n" % number)
    reader = Reader(path, 10)
    found = [line.text for line in reader.batch()]
    for number in range(12, 40):
        log.write(1, b"%d\n" % number)
    while lines := reader.batch():
        found += [line.text for line in lines]
    assert found == [b"%d\n" % number for number in range(2, 40)]
    reader.close()


def test_a_line_that_is_written_between_the_last_read_and_the_rotation_is_read(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"log":"a\\n"}\n')
    reader = Reader(path, None)
    assert [line.text for line in reader.batch()] == [b"a\n"]
    os.read(reader._file, 1)  # the reader is at the end of the file
    with path.open("ab") as file:
        file.write(b'{"log":"b\\n"}\n')
    path.rename(path.with_name("log.1"))
    path.write_bytes(b'{"log":"c\\n"}\n')
    assert reader._open_next()
    assert [line.text for line in reader.batch() + reader.batch()] == [b"b\n", b"c\n"]
    reader.close()


def test_a_file_of_which_only_the_successor_is_gone_for_a_moment_is_found(tmp_path):
    """Between two renames of a rotation, one number is missing."""
    path = tmp_path / "log"
    for name, text in (("log.2", "a"), ("log", "b")):
        (tmp_path / name).write_text(f'{{"log":"{text}"}}\n')
    reader = Reader(path, None)
    assert [line.text for line in reader.batch() + reader.batch()] == [b"a", b"b"]
    reader.close()
