"""Reads the json-file logs that the shims write, across rotation, with or without following.

Memory use does not depend on the size of the log; files are read in threads.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from netd.common.tasks import start_awaited
from runtime.kernel.inotify import FolderWatch

_BLOCK = 1 << 16
_MAX_ENTRY = 1 << 20
"""Ten times the longest line that the shim writes; longer lines are damaged."""
_STREAMS = {"stdout": 1, "stderr": 2}


class _Entry(msgspec.Struct):
    log: str = ""
    stream: str = "stdout"
    time: str = ""


_decoder = msgspec.json.Decoder(_Entry)


@dataclass(frozen=True, slots=True)
class Line:
    stream: int
    text: bytes
    time: str

    def timestamp(self) -> bytes:
        """Return the time and a space; the fraction is padded to nine digits."""
        head, _, tail = self.time.removesuffix("Z").partition(".")
        return f"{head}.{tail:0<9}Z ".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Selects the last *tail* lines (None: all), of *streams*, from *since* to *until* (nanoseconds; 0: no limit)."""

    tail: int | None = None
    since: int = 0
    until: int = 0
    streams: frozenset[int] = frozenset({1, 2})

    def matches(self, line: Line) -> bool:
        if line.stream not in self.streams:
            return False
        if not (self.since or self.until):
            return True
        time = nanoseconds(line.time)
        return self.since <= time and (not self.until or time <= self.until)


def nanoseconds(time: str) -> int:
    """Return an RFC 3339 time in UTC as nanoseconds since the epoch."""
    head, _, tail = time.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{head}+00:00").timestamp()) * 10**9 + int(f"{tail[:9]:0<9}")


class Reader:
    """Reads the last *tail* lines and all later ones, oldest file first; :meth:`batch` continues where it stopped.

    The file is kept open, and its successor is found by inodes, so that rotations between two reads skip no file.
    """

    def __init__(self, path: Path, tail: int | None) -> None:
        self._path = path
        self._rest = b""
        self._file = _start(path, tail)

    def batch(self) -> list[Line]:
        """Return the next lines, none at the current end of the log.  Blocks only for the disk."""
        while True:
            if self._file is None:
                self._file = _start(self._path, None)
            if self._file is None:
                return []
            if data := os.read(self._file, _BLOCK):
                if lines := self._lines(data):
                    return lines
            elif not self._open_next():
                return []

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _lines(self, data: bytes) -> list[Line]:
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_ENTRY:
            self._rest = b"\0"  # Discard the part that was read; NUL makes the whole line invalid JSON.
        return [line for text in complete if text and (line := _line(text))]

    def _open_next(self) -> bool:
        """Open the next newer file, or seek to the start of a truncated one; return False if there is none."""
        assert self._file is not None
        newest = 0
        with suppress(FileNotFoundError):
            newest = os.stat(self._path).st_ino
        status = os.fstat(self._file)
        position = os.lseek(self._file, 0, os.SEEK_CUR)
        if status.st_size < position:
            os.lseek(self._file, 0, os.SEEK_SET)
            self._rest = b""
            return True
        if status.st_size > position:  # It was written after the last read, and before a rotation.
            return True
        if newest == status.st_ino or (newer := _newer(self._path, status.st_ino)) is None:
            return False
        self.close()
        self._file = newer
        return True


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


async def read(
    path: Path, log_filter: LogFilter, exited: Awaitable[object] | None = None
) -> AsyncGenerator[list[Line], None]:
    """Yield the matching lines in batches; with *exited*, follow the log until *exited* is done."""
    reader = await asyncio.to_thread(Reader, path, log_filter.tail)
    with closing(reader):
        if exited is None:
            async for batch in _available(reader, log_filter):
                yield batch
            return
        watch, exited_future = FolderWatch(str(path.parent)), start_awaited(exited)
        try:
            async for batch in _follow(reader, log_filter, watch, exited_future):
                yield batch
        finally:
            watch.close()
            exited_future.cancel()


async def _available(reader: Reader, log_filter: LogFilter) -> AsyncIterator[list[Line]]:
    while lines := await asyncio.to_thread(reader.batch):
        if matching := [line for line in lines if log_filter.matches(line)]:
            yield matching


async def _follow(
    reader: Reader, log_filter: LogFilter, watch: FolderWatch, exited: asyncio.Future[object]
) -> AsyncIterator[list[Line]]:
    while True:
        last = exited.done()
        async for batch in _available(reader, log_filter):
            yield batch
        if last:
            return
        changed = start_awaited(watch.wait())
        try:
            await asyncio.wait((changed, exited), return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()


def _line(text: bytes) -> Line | None:
    try:
        entry = _decoder.decode(text)
    except msgspec.DecodeError:
        return None
    return Line(_STREAMS.get(entry.stream, 1), entry.log.encode(errors="replace"), entry.time)


def _start(path: Path, tail: int | None) -> int | None:
    """Open the file with the first of the last *tail* lines, at that line; the oldest if there are fewer lines."""
    chosen: int | None = None
    remaining = tail
    for file in _newest_first(path):
        if chosen is not None:
            os.close(chosen)
        chosen = file
        if remaining is not None:
            position, found = _last_lines(file, remaining)
            remaining -= found
            if not remaining:
                os.lseek(file, position, os.SEEK_SET)
                break
    return chosen


def _newer(path: Path, inode: int) -> int | None:
    """Open the file that was begun after that of *inode*; the oldest if that has been deleted, None if it is newest."""
    chosen: int | None = None
    for file in _newest_first(path):
        if os.fstat(file).st_ino == inode:
            os.close(file)
            break
        if chosen is not None:
            os.close(chosen)
        chosen = file
    return chosen


def _newest_first(path: Path) -> Iterator[int]:
    """Open the files of a log, each once; the caller closes them.

    Rotations meanwhile move files to higher numbers, so that none is missed, and leave a gap of one number for a while.
    """
    seen: set[int] = set()
    number = missing = 0
    while missing < 2:
        file = _open(path.with_name(f"{path.name}.{number}") if number else path)
        number += 1
        if file is None:
            missing += 1
            continue
        missing = 0
        inode = os.fstat(file).st_ino
        if inode in seen:
            os.close(file)
            continue
        seen.add(inode)
        yield file


def _last_lines(handle: int, count: int) -> tuple[int, int]:
    """Return (offset of the last *count* lines of a file, number of lines from there on)."""
    position = end = os.fstat(handle).st_size
    if not count:
        return end, 0
    found = 0
    while position:
        size = min(_BLOCK, position)
        position -= size
        for place in _newlines_reversed(os.pread(handle, size, position)):
            if position + place + 1 == end:
                continue
            found += 1
            if found == count:
                return position + place + 1, count
    return 0, min(found + 1, count) if end else 0


def _newlines_reversed(block: bytes) -> Iterator[int]:
    place = block.rfind(b"\n")
    while place >= 0:
        yield place
        place = block.rfind(b"\n", 0, place)
