"""Walks and removes trees that images and containers have written, of any depth, width and content.

Iterative, with a bounded number of descriptors and no paths that grow with the depth: paths are limited to 4,096 bytes,
and a container can nest folders much deeper.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import uuid
from array import array
from collections.abc import Callable, Iterator
from typing import NamedTuple

from runtime.kernel import linux, openat

_MAX_OPEN = 32
"""The number of nested folders kept open; each takes at most two descriptors."""
_DEEPEST = 1 << 22
_MOST_LINKS = 1 << 20
_BUFFER_SIZE = 1 << 15
_UNKNOWN, _DIRECTORY, _OTHER = 0, 4, 8
_RECORD = struct.Struct("=QqHB")


class Step(NamedTuple):
    """``folder`` contains ``name``; ``inner`` is the open folder that is entered or left, -1 for other files."""

    kind: str
    """``enter``, ``leave`` or ``file``; the root itself is neither entered nor left."""
    folder: int
    name: bytes
    inner: int = -1


class _Level:
    """An open folder of a walk, and the rest of the last batch of its entries."""

    __slots__ = ("batch", "folder", "name", "position")

    def __init__(self, folder: int, name: bytes) -> None:
        self.folder = folder
        self.name = name
        self.batch: Iterator[tuple[bytes, int, int]] = iter(())
        self.position = 0
        """The directory offset (d_off) after the last entry returned."""

    def next(self, buffer: ctypes.Array[ctypes.c_char]) -> tuple[bytes, int] | None:
        """Return the next (name, d_type); None at the end."""
        while True:
            if (found := next(self.batch, None)) is not None:
                name, kind, self.position = found
                return name, kind
            try:
                size = linux.getdents(self.folder, buffer)
            except FileNotFoundError:  # deleted concurrently
                return None
            if not size:
                return None
            self.batch = _records(buffer.raw[:size])


def _records(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    start = 0
    while start < len(data):
        _inode, position, length, kind = _RECORD.unpack_from(data, start)
        name = data[start + _RECORD.size : data.index(b"\0", start + _RECORD.size)]
        start += length
        if name not in (b".", b".."):
            yield name, kind, position


class _Walk:
    """A walk.  The innermost levels are open; of outer ones, inode and offset are kept to reopen them by ``..``."""

    def __init__(self, root: int) -> None:
        self._buffer = ctypes.create_string_buffer(_BUFFER_SIZE)
        self._open_levels = [_Level(openat.open_folder(root, b"."), b"")]
        self._inodes = array("Q")
        self._positions = array("q")

    def run(self) -> Iterator[Step]:
        while self._open_levels:
            level = self._open_levels[-1]
            found = level.next(self._buffer)
            if found is not None:
                yield from self._visit(level, *found)
                continue
            try:
                above = self._leave_to_parent(level)
                if above is not None:
                    yield Step("leave", above.folder, level.name, level.folder)
            finally:
                os.close(level.folder)

    def close(self) -> None:
        for level in self._open_levels:
            os.close(level.folder)
        self._open_levels.clear()

    def _visit(self, level: _Level, name: bytes, kind: int) -> Iterator[Step]:
        if kind == _UNKNOWN:
            status = openat.lstat(level.folder, name)
            kind = _DIRECTORY if status and stat.S_ISDIR(status.st_mode) else _OTHER
        if kind != _DIRECTORY:
            yield Step("file", level.folder, name)
            return
        try:
            inner = openat.open_folder(level.folder, name)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
                raise
            return  # deleted or replaced concurrently, or a mount point
        if len(self._positions) >= _DEEPEST:
            os.close(inner)
            raise OSError(errno.ELOOP, f"folders are nested deeper than {_DEEPEST}")
        self._open_levels.append(_Level(inner, name))
        yield Step("enter", level.folder, name, inner)
        if len(self._open_levels) > _MAX_OPEN:
            self._close_outermost(self._open_levels.pop(0))

    def _close_outermost(self, level: _Level) -> None:
        status = os.fstat(level.folder)
        self._inodes.extend((status.st_dev, status.st_ino))
        self._positions.append(level.position)
        os.close(level.folder)

    def _leave_to_parent(self, level: _Level) -> _Level | None:
        """Remove *level* from the open levels; return its parent, reopened if needed.

        Returns None for the root, and if the parent is not the folder that was walked, because *level* was moved.
        """
        self._open_levels.pop()
        if not self._open_levels and self._positions:
            position, inode, device = self._positions.pop(), self._inodes.pop(), self._inodes.pop()
            parent = openat.open_parent(level.folder)
            status = os.fstat(parent)
            if (status.st_dev, status.st_ino) != (device, inode):
                os.close(parent)
                return None  # moved concurrently: the walk cannot continue above
            self._open_levels.append(_Level(parent, b""))
            self._open_levels[-1].position = position
            os.lseek(parent, position, os.SEEK_SET)
        return self._open_levels[-1] if self._open_levels else None


def walk(root: int) -> Iterator[Step]:
    """Yield the steps of a depth-first walk below the open folder *root*: enter a folder, its content, leave it.

    The tree may change concurrently.  The descriptors of a step are open until the next step is requested.  In leave
    steps, the names of folders are empty if the tree is deeper than _MAX_OPEN levels.
    """
    state = _Walk(root)
    try:
        yield from state.run()
    finally:
        state.close()


def size(path: str | os.PathLike[str]) -> int:
    """Return the size in bytes of all files below the folder *path*, 0 if it does not exist; blocking.

    A file with several names counts once, up to _MOST_LINKS such files.
    """
    try:
        root = openat.open_tree_root(path)
    except FileNotFoundError:
        return 0
    try:
        total = 0
        linked: set[tuple[int, int]] = set()
        for step in walk(root):
            if step.kind != "file" or (status := openat.lstat(step.folder, step.name)) is None:
                continue
            inode = (status.st_dev, status.st_ino)
            if status.st_nlink > 1 and len(linked) < _MOST_LINKS:
                if inode in linked:
                    continue
                linked.add(inode)
            total += status.st_size
        return total
    finally:
        os.close(root)


# Removal


def remove(folder: int, name: openat.Name) -> None:
    """Delete *name* in *folder* and everything below it, if it exists.

    Folders deeper than _MAX_OPEN levels are first moved up into *folder*, under a name that begins with ``gone-``.
    Files that cannot be deleted are skipped, and the first OSError is raised at the end.
    """
    status = openat.lstat(folder, name)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        _clearing_flags(os.unlink, folder, os.fsencode(name))
        return
    left: bytes | None = os.fsencode(name)
    failures: list[OSError] = []
    while left is not None:
        removal = _Removal(folder)
        removal.run(left)
        failures += removal.failures
        left = removal.aside
    if failures:
        raise failures[0]


def remove_path(path: str | os.PathLike[str]) -> None:
    """Delete *path*, whose parents only the daemon can change, and everything below it."""
    above, name = os.path.split(path)
    folder = openat.open_tree_root(above)
    try:
        remove(folder, name)
    finally:
        os.close(folder)


class _OpenFolder:
    """A folder whose entries are being deleted."""

    __slots__ = ("entries", "failed", "folder", "name")

    def __init__(self, folder: int, name: bytes) -> None:
        self.folder = folder
        self.name = name
        self.failed = False
        self.entries = os.scandir(folder)

    def next(self) -> os.DirEntry[str] | None:
        return next(self.entries, None)

    def list_again(self) -> None:
        """List the folder again: deletions during a listing can hide entries from it."""
        self.entries.close()
        self.entries = os.scandir(self.folder)

    def close(self) -> None:
        self.entries.close()
        os.close(self.folder)


class _Removal:
    """The removal of one tree down to _MAX_OPEN levels; ``aside`` is the folder to which deeper ones were moved."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._open: list[_OpenFolder] = []
        self._moved = 0
        self.aside: bytes | None = None
        self.failures: list[OSError] = []

    def run(self, name: bytes) -> None:
        try:
            self._enter(self._top, name)
            while self._open:
                emptied = self._open[-1]
                entry = emptied.next()
                if entry is None:
                    self._leave(emptied)
                    continue
                try:
                    self._delete(emptied, entry)
                except OSError as error:
                    self._fail(emptied, error)
        finally:
            for emptied in self._open:
                emptied.close()

    def _delete(self, emptied: _OpenFolder, entry: os.DirEntry[str]) -> None:
        name = os.fsencode(entry.name)
        if not entry.is_dir(follow_symlinks=False):
            _clearing_flags(os.unlink, emptied.folder, name)
        elif len(self._open) < _MAX_OPEN:
            self._enter(emptied.folder, name)
        else:
            self._move_aside(emptied.folder, name)

    def _enter(self, above: int, name: bytes) -> None:
        try:
            self._open.append(_OpenFolder(openat.open_folder(above, name), name))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise OSError(errno.EBUSY, "another file system is mounted there", os.fsdecode(name)) from None
            raise

    def _leave(self, emptied: _OpenFolder) -> None:
        above = self._open[-2] if len(self._open) > 1 else None
        try:
            _clearing_flags(os.rmdir, above.folder if above else self._top, emptied.name)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY and not emptied.failed:
                emptied.failed = True
                emptied.list_again()
                return
            self._fail(above, error)
        self._open.pop().close()

    def _fail(self, emptied: _OpenFolder | None, error: OSError) -> None:
        if emptied is not None:
            emptied.failed = True
        if not self.failures:
            self.failures.append(error)

    def _move_aside(self, folder: int, name: bytes) -> None:
        if self.aside is None:
            self.aside = f"gone-{uuid.uuid4().hex}".encode()
            os.mkdir(self.aside, 0o700, dir_fd=self._top)
        new = self.aside + b"/%d" % self._moved
        self._moved += 1

        def rename(what: bytes, *, dir_fd: int) -> None:
            os.rename(what, new, src_dir_fd=dir_fd, dst_dir_fd=self._top)

        _clearing_flags(rename, folder, name)


def _clearing_flags(change: Callable[..., None], folder: int, name: bytes) -> None:
    """Delete or move *name*; on EPERM, clear the immutable and append-only flags (chattr) and try again."""
    try:
        change(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except PermissionError:
        try:
            openat.clear_flags_of(folder)
        except OSError:  # the descriptor was opened by O_PATH
            pass
        openat.clear_flags(folder, name)
        change(name, dir_fd=folder)
