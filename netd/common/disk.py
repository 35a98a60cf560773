"""The disk of the state directory: reserved space for removals, writability, and the meaning of SQLite's errors."""

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
"""Bytes: enough for a removal, which writes a few database pages and frees at least that space for the next one."""


class Reserve:
    """A file that occupies space; it is deleted when a removal would fail for lack of space."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.held = self._is_whole()

    def fill(self) -> bool:
        """Create the file if it is missing; return whether it exists in full size."""
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
        """Delete the file; return False if it did not exist."""
        had_space, self.held = self.held, False
        self._delete()
        return had_space

    def _is_whole(self) -> bool:
        try:
            return self._path.stat().st_blocks * 512 >= _SIZE
        except OSError:
            return False

    def _delete(self) -> None:
        with suppress(OSError):
            self._path.unlink()


def is_writable(path: Path) -> bool:
    """Return whether the file, or its folder if the file does not exist, is writable."""
    return os.access(path if path.exists() else path.parent, os.W_OK)


def copy_database(path: Path, folder: Path) -> Path:
    """Copy a store's files to *folder*, except -shm and the reserve: SQLite cannot open them on a read-only disk."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = folder / path.name
    for suffix in ("", "-wal", ".good", ".changes", ".changes.old"):
        target = copy.with_name(copy.name + suffix)
        target.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.copyfile(path.with_name(path.name + suffix), target)
    return copy


def problem(error: sqlite3.Error | MemoryError, path: Path) -> Problem:
    """Return the Problem for a change that SQLite could not record in *path*."""
    what = f"cannot record the change in {path}"
    number = errno.ENOMEM if isinstance(error, MemoryError) else _number(error, path)
    return resource_errors.problem(OSError(number, ""), what) or ServerError(f"{what}: {error}")


def is_full(error: sqlite3.Error, path: Path) -> bool:
    return _number(error, path) == errno.ENOSPC


def _number(error: sqlite3.Error, path: Path) -> int:
    """Return the errno behind an SQLite error, 0 if it is unknown."""
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
        file_system = os.statvfs(path)
    except OSError as problem:
        return problem.errno or 0
    if file_system.f_flag & os.ST_RDONLY:
        return errno.EROFS
    return errno.ENOSPC if file_system.f_bavail == 0 else 0
