"""Walks a tree in the order of its names, so that two trees with the same content give the same sequence.

Like :mod:`runtime.kernel.tree` it works by descriptor and follows no symbolic link.  The names
of one folder are kept in memory while it is walked.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.kernel import openat

_LONGEST_PATH = 4095
_MAX_OPEN = 32
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV})


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a tree; ``folder`` contains it under ``name``.  The descriptors are open until the next step."""

    path: bytes
    """Below the root of the walk, without a leading slash."""
    folder: int
    name: bytes
    status: os.stat_result
    inner: int = -1
    """The open folder that is entered next; -1 for other files and for folders that are not entered."""

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


class _SortedLevel:
    __slots__ = ("folder", "names", "path")

    def __init__(self, path: bytes, folder: int) -> None:
        self.path = path
        self.folder = folder
        self.names = iter(sorted(os.fsencode(name) for name in openat.names(folder)))


class _SortedWalk:
    """The levels from the root to the current folder; of these, only the innermost _MAX_OPEN are open."""

    def __init__(self, root: int, mounts: bool) -> None:
        self._root = root
        self._mounts = mounts
        self._levels: list[_SortedLevel] = []

    def run(self) -> Iterator[Found]:
        self._enter(b"", openat.open_folder(self._root, b"."))
        while self._levels:
            level = self._levels[-1]
            name = next(level.names, None)
            if name is None:
                self._leave()
                continue
            if level.folder < 0 and not self._reopen(level):
                continue
            if (status := openat.lstat(level.folder, name)) is not None:
                yield from self._visit(level, name, status)

    def close(self) -> None:
        for level in self._levels:
            if level.folder >= 0:
                os.close(level.folder)
        self._levels.clear()

    def _visit(self, level: _SortedLevel, name: bytes, status: os.stat_result) -> Iterator[Found]:
        path = level.path + b"/" + name if level.path else name
        if len(path) > _LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, f"a path is longer than {_LONGEST_PATH} bytes", path[:200])
        if not stat.S_ISDIR(status.st_mode):
            yield Found(path, level.folder, name, status)
            return
        try:
            inner = openat.open_folder(level.folder, name, mounts=self._mounts)
        except OSError as error:
            if error.errno not in _VANISHED:
                raise
            yield Found(path, level.folder, name, status)
            return
        self._enter(path, inner)
        yield Found(path, level.folder, name, os.fstat(inner), inner)

    def _enter(self, path: bytes, folder: int) -> None:
        self._levels.append(_SortedLevel(path, folder))
        if len(self._levels) > _MAX_OPEN:
            outer = self._levels[-_MAX_OPEN - 1]
            os.close(outer.folder)
            outer.folder = -1

    def _leave(self) -> None:
        folder = self._levels.pop().folder
        if folder >= 0:
            os.close(folder)

    def _reopen(self, level: _SortedLevel) -> bool:
        """Open a level again by its path; False if it was deleted or replaced concurrently."""
        try:
            level.folder = openat.open_in(self._root, level.path, _FOLDER, links=False)
        except OSError as error:
            if error.errno not in _VANISHED:
                raise
            level.names = iter(())
            return False
        return True


def walk(root: int, *, mounts: bool = False) -> Iterator[Found]:
    """Yield every file below the open folder *root*, a folder before its content, in the order of the names' bytes.

    Mount points are entered only with *mounts*.

    The tree may change concurrently.  Raises OSError with ENAMETOOLONG for a path longer than 4,095 bytes.
    """
    state = _SortedWalk(root, mounts)
    try:
        yield from state.run()
    finally:
        state.close()
