"""Reads the json-file logs that the shims write, across rotation, once or for as long as more comes.

Memory stays small however long a log is; reading happens in threads.
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
from runtime.inotify import FolderWatch

_BLOCK = 1 << 16
_LONGEST_ENTRY = 1 << 20
"""Ten times what the shim writes as one line; anything longer is damage."""
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

    def stamped(self) -> bytes:
        """Return the line after its time, all of whose nine digits are written."""
        head, _, tail = self.time.removesuffix("Z").partition(".")
        return f"{head}.{tail:0<9}Z ".encode() + self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which lines: the last *tail* (None: all), between *since* and *until* (nanoseconds), of these streams."""

    tail: int | None = None
    since: int = 0
    until: int = 0
    streams: frozenset[int] = frozenset({1, 2})

    def has(self, line: Line) -> bool:
        if line.stream not in self.streams:
            return False
        if not (self.since or self.until):
            return True
        moment = nanoseconds(line.time)
        return self.since <= moment and (not self.until or moment <= self.until)


def nanoseconds(time: str) -> int:
    """Return an RFC 3339 time in UTC as nanoseconds since the epoch."""
    head, _, tail = time.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{head}+00:00").timestamp()) * 10**9 + int(f"{tail[:9]:0<9}")


class Reader:
    """Walks a log from where *tail* begins, oldest file first; :meth:`batch` goes on where it stopped."""

    def __init__(self, path: Path, tail: int | None) -> None:
        self._path = path
        self._rest = b""
        self._later, position = _beginning(path, tail)
        self._file = _open(self._later.pop(0))
        if self._file is not None:
            os.lseek(self._file, position, os.SEEK_SET)

    def batch(self) -> list[Line]:
        """Return some more lines, none at the present end; blocks for the disk only."""
        while True:
            if self._file is None:
                self._file = _open(self._path)
            if self._file is None:
                return []
            if data := os.read(self._file, _BLOCK):
                if lines := self._lines(data):
                    return lines
            elif not self._next():
                return []

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _lines(self, data: bytes) -> list[Line]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_ENTRY:
            self._rest = b"\0"  # so that the rest of the line is no entry either
        return [line for text in whole if text and (line := _line(text))]

    def _next(self) -> bool:
        """Move on to the next file, or the beginning of one that was cut; False when there is none."""
        assert self._file is not None
        if self._later:
            self.close()
            self._file = _open(self._later.pop(0))
            return True
        here = os.fstat(self._file)
        if here.st_size < os.lseek(self._file, 0, os.SEEK_CUR):
            os.lseek(self._file, 0, os.SEEK_SET)
            self._rest = b""
            return True
        with suppress(FileNotFoundError):
            if os.stat(self._path).st_ino != here.st_ino:
                self.close()
                self._file = _open(self._path)
                return True
        return False


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


async def read(
    path: Path, wanted: LogFilter, ended: Awaitable[object] | None = None
) -> AsyncGenerator[list[Line], None]:
    """Yield the wanted lines in batches; with *ended*, go on as more are written until that is done."""
    reader = await asyncio.to_thread(Reader, path, wanted.tail)
    with closing(reader):
        if ended is None:
            async for batch in _present(reader, wanted):
                yield batch
            return
        watch, over = FolderWatch(str(path.parent)), start_awaited(ended)
        try:
            async for batch in _following(reader, wanted, watch, over):
                yield batch
        finally:
            watch.close()
            over.cancel()


async def _present(reader: Reader, wanted: LogFilter) -> AsyncIterator[list[Line]]:
    while lines := await asyncio.to_thread(reader.batch):
        if chosen := [line for line in lines if wanted.has(line)]:
            yield chosen


async def _following(
    reader: Reader, wanted: LogFilter, watch: FolderWatch, over: asyncio.Future[object]
) -> AsyncIterator[list[Line]]:
    while True:
        last = over.done()
        async for batch in _present(reader, wanted):
            yield batch
        if last:
            return
        changed = start_awaited(watch.wait())
        try:
            await asyncio.wait((changed, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()


def _line(text: bytes) -> Line | None:
    try:
        entry = _decoder.decode(text)
    except msgspec.DecodeError:
        return None
    return Line(_STREAMS.get(entry.stream, 1), entry.log.encode(errors="replace"), entry.time)


def _beginning(path: Path, tail: int | None) -> tuple[list[Path], int]:
    """Return the files to read, oldest first and the current one last, and at which offset of the first to begin."""
    files = [path, *_rotated(path)]
    left = tail
    for place, file in enumerate(files):
        if left is None:
            break
        position, found = _last_lines(file, left)
        left -= found
        if not left:
            return files[place::-1], position
    return files[::-1], 0


def _rotated(path: Path) -> Iterator[Path]:
    number = 1
    while (older := path.with_name(f"{path.name}.{number}")).exists():
        yield older
        number += 1


def _last_lines(path: Path, count: int) -> tuple[int, int]:
    """Return where the last *count* lines of a file begin, and how many lines from there there are."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return 0, 0
    with file:
        position = end = file.seek(0, os.SEEK_END)
        if not count:
            return end, 0
        found = 0
        while position:
            size = min(_BLOCK, position)
            position -= size
            file.seek(position)
            block = file.read(size)
            for place in _newlines_backwards(block):
                if position + place + 1 == end:
                    continue
                found += 1
                if found == count:
                    return position + place + 1, count
    return 0, min(found + 1, count) if end else 0


def _newlines_backwards(block: bytes) -> Iterator[int]:
    place = block.rfind(b"\n")
    while place >= 0:
        yield place
        place = block.rfind(b"\n", 0, place)
