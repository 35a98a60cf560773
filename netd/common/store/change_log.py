"""The change log of a store: the transactions since its last copy (PATH.good), one line each.

The copy and the log together replace a lost or damaged store.  The log is never synced, so an entry costs the writer
one system call.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

Row: TypeAlias = tuple[str, str, bytes | None]
"""Kind, id and body of a document; None for a deleted document."""

_log = logging.getLogger(__name__)
_DELETED = b"null"


class ChangeEntry(msgspec.Struct, frozen=True, array_like=True):
    """One transaction.  Transactions are numbered consecutively."""

    number: int
    rows: list[tuple[str, str, msgspec.Raw]]

    def changes(self) -> Iterator[Row]:
        for kind, key, body in self.rows:
            yield kind, key, None if bytes(body) == _DELETED else bytes(body)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ChangeEntry).decode


class Changes:
    """Appends to PATH.changes.  While a copy is made, the older entries are in PATH.changes.old."""

    def __init__(self, path: Path) -> None:
        self._path, self._old = files(path)
        self._handle = -1
        self.size = 0
        """Bytes since the last copy."""

    def append(self, number: int, rows: Sequence[Row]) -> bool:
        """Append a transaction; return False if that failed, in which case the caller must make a new copy."""
        line = _line(ChangeEntry(number, [(kind, key, msgspec.Raw(body or _DELETED)) for kind, key, body in rows]))
        try:
            if self._handle < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
                self._handle = os.open(self._path, flags, 0o600)
            self.size += len(line)
            return os.write(self._handle, line) == len(line)
        except OSError:
            return False

    def rotate(self) -> None:
        """Move the entries to PATH.changes.old; the next copy will contain them."""
        self.close()
        if self._old.exists():
            # An earlier copy failed: the entries since then are appended.
            with self._old.open("ab") as old:
                old.write(self._path.read_bytes() if self._path.exists() else b"")
            self._path.unlink(missing_ok=True)
        elif self._path.exists():
            self._path.rename(self._old)
        self.size = 0

    def forget_old(self) -> None:
        """Delete PATH.changes.old, whose entries are in the new copy."""
        self._old.unlink(missing_ok=True)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def files(store: Path) -> tuple[Path, Path]:
    """Return the two files of a store's change log, the newer one first."""
    return store.with_name(f"{store.name}.changes"), store.with_name(f"{store.name}.changes.old")


def size(store: Path) -> int:
    """Return the size of a store's change log in bytes."""
    return sum(path.stat().st_size for path in files(store) if path.exists())


def read(store: Path) -> list[ChangeEntry]:
    """Return the readable entries, sorted by number.  Damaged lines are skipped and logged."""
    found: dict[int, ChangeEntry] = {}
    for path in reversed(files(store)):
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            continue
        entries = [_entry(line) for line in lines if line]
        if damaged := entries.count(None):
            _log.warning("damaged lines in the change log: path=%s lines=%d", path, damaged)
        found.update((entry.number, entry) for entry in entries if entry)
    return [found[number] for number in sorted(found)]


def _line(entry: ChangeEntry) -> bytes:
    text = _encode(entry)
    # The line feed is in front, so that an entry is not joined to a preceding line that a full disk truncated.
    return b"\n%08x %s" % (zlib.crc32(text), text)


def _entry(line: bytes) -> ChangeEntry | None:
    checksum, _, text = line.partition(b" ")
    try:
        return _decode(text) if int(checksum, 16) == zlib.crc32(text) else None
    except (ValueError, msgspec.DecodeError):
        return None
