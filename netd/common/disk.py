"""The disk that holds the state: room kept for removals, whether it can be written, and what its errors mean."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

from netd.common import resource_errors
from netd.common.errors import Problem, ServerError

_SIZE = 2 << 20
"""Bytes: removals write a few pages of a database each, and what they remove makes room for the next."""


class Reserve:
    """A file that only takes room, and is deleted when a removal would fail without that room."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.held = self._is_whole()

    def fill(self) -> bool:
        """Make the file, and tell whether it is there."""
        if not self.held:
            try:
                handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(handle, 0, _SIZE)
                finally:
                    os.close(handle)
                self.held = True
            except OSError:
                self._delete()
        return self.held

    def release(self) -> bool:
        """Give the room up; false when there is none."""
        was, self.held = self.held, False
        self._delete()
        return was

    def _is_whole(self) -> bool:
        try:
            return self._path.stat().st_blocks * 512 >= _SIZE
        except OSError:
            return False

    def _delete(self) -> None:
        with suppress(OSError):
            self._path.unlink()


def is_writable(path: Path) -> bool:
    """Tell whether the file, or its folder if there is no such file, is on a disk that can be written."""
    return os.access(path if path.exists() else path.parent, os.W_OK)


def copy_database(path: Path, folder: Path) -> Path:
    """Copy a database and what it is rebuilt from into *folder*, because SQLite opens neither on a read-only disk."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = folder / path.name
    for suffix in ("", "-wal", ".good", ".changes", ".changes.old"):
        target = copy.with_name(copy.name + suffix)
        target.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.copyfile(path.with_name(path.name + suffix), target)
    return copy


def problem(error: sqlite3.Error | MemoryError, path: Path) -> Problem:
    """Return what to tell of a change that SQLite could not record in *path*."""
    what = f"cannot record the change in {path}"
    number = errno.ENOMEM if isinstance(error, MemoryError) else _number(error, path)
    return resource_errors.problem(OSError(number, ""), what) or ServerError(f"{what}: {error}")


def is_full(error: sqlite3.Error, path: Path) -> bool:
    return _number(error, path) == errno.ENOSPC


def _number(error: sqlite3.Error, path: Path) -> int:
    """Return the error of the operating system behind one of SQLite's, 0 when there is none that is known."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return errno.ENOSPC
    if code == sqlite3.SQLITE_READONLY:
        return errno.EROFS
    if code == sqlite3.SQLITE_NOMEM:
        return errno.ENOMEM
    if code != sqlite3.SQLITE_IOERR:
        return 0
    try:
        there = os.statvfs(path)
    except OSError as problem:
        return problem.errno or 0
    if there.f_flag & os.ST_RDONLY:
        return errno.EROFS
    return errno.ENOSPC if there.f_bavail == 0 else 0
