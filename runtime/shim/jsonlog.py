"""The json-file log of a container: one JSON object per line, in Docker's format, with rotation.

Owns the log file.  A line of output becomes an entry when it is complete, when it reaches 16 KiB (the entry then has no
newline, and the next entry continues the line), or at the end of the output.  On a full disk entries are lost; the
container is not blocked.
"""

from __future__ import annotations

import os
import time
from _json import encode_basestring  # of the package json, without the rest of it: every shim carries this module

LONGEST = 16384
_STREAMS = ("", "stdout", "stderr")


class JsonLog:
    def __init__(self, path: str, max_size: int = -1, max_files: int = 1) -> None:
        """Append to *path*; rotate it from *max_size* bytes on (-1: no limit), keeping *max_files* files in all."""
        self._path = path
        self._max_size = max_size
        self._max_files = max_files
        self._partial = [b"", b"", b""]
        self._clock = (0, "")
        self._open()

    def write(self, stream: int, data: bytes) -> None:
        """Log output of *stream* (1 or 2); *data* may end within a line."""
        *lines, rest = (self._partial[stream] + data).split(b"\n")
        pieces = [piece for line in lines for piece in split_long(line + b"\n")]
        *full, self._partial[stream] = split_long(rest)
        self._append(stream, pieces + full)

    def close(self) -> None:
        """Write the incomplete lines, and close the file."""
        for stream in (1, 2):
            if self._partial[stream]:
                self._append(stream, [self._partial[stream]])
        os.close(self._file)

    def _append(self, stream: int, pieces: list[bytes]) -> None:
        if not pieces:
            return
        tail = f',"stream":"{_STREAMS[stream]}","time":"{self._now()}"}}\n'
        lines = [f'{{"log":{quote(piece)}{tail}'.encode() for piece in pieces]
        if self._max_size < 0:
            self._write(b"".join(lines))
            return
        for line in lines:
            if self._size >= self._max_size:
                self._rotate()
            self._write(line)

    def _write(self, data: bytes) -> None:
        try:
            self._size += os.write(self._file, data)
        except OSError:
            return

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._file).st_size

    def _rotate(self) -> None:
        try:
            if self._max_files < 2:
                os.ftruncate(self._file, 0)
                self._size = 0
                return
            for number in range(self._max_files - 1, 1, -1):
                _rename(f"{self._path}.{number - 1}", f"{self._path}.{number}")
            os.rename(self._path, f"{self._path}.1")
            old = self._file
            self._open()
            os.close(old)
        except OSError:
            return

    def _now(self) -> str:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        if seconds != self._clock[0]:
            self._clock = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
        fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
        return f"{self._clock[1]}{fraction}Z"


def split_long(line: bytes) -> list[bytes]:
    """Split a line into pieces of at most LONGEST bytes, between UTF-8 characters."""
    pieces = []
    while len(line) > LONGEST:
        end = LONGEST
        while end > LONGEST - 4 and line[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    pieces.append(line)
    return pieces


def quote(piece: bytes) -> str:
    """Return *piece* as a JSON string; invalid UTF-8 becomes U+FFFD."""
    return encode_basestring(piece.decode("utf-8", "replace"))


def _rename(old: str, new: str) -> None:
    try:
        os.rename(old, new)
    except FileNotFoundError:
        return
