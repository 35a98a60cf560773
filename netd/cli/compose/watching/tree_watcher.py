"""Reports changed paths below folders, by inotify(7).

Folders are watched one by one, because inotify does not watch the content of subfolders.  Symbolic links to folders are
not followed.  The number of folders is bounded; what *skips* excludes is not watched.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time

from netd.cli.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MOST_FOLDERS = 65_536
MOST_FILES = 1_000_000
"""Bounds of the folders that are watched, and of the files that are reported after events were lost."""
QUIET_SECONDS, LONGEST_SECONDS = 0.5, 10.0
"""A batch ends when nothing has changed for the first time, and after the second at the latest."""

_MODIFY, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _ONLY_FOLDERS, _DO_NOT_FOLLOW, _IS_FOLDER = 0x4000, 0x8000, 0x0100_0000, 0x0200_0000, 0x4000_0000
_WANTED = _MODIFY | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLY_FOLDERS
_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 16

Wait = "Callable[[int, int | None], None]"
"""Waits until a descriptor is readable, for so many milliseconds at most."""


class TreeWatcher:
    """Watches until ``close``.  *skips* returns whether nothing in a folder matters, *relevant* whether a path does."""

    def __init__(self, paths: Iterable[str], skips: Callable[[str], bool], relevant: Callable[[str], bool]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._paths, self._skips, self._relevant = tuple(paths), skips, relevant
        self._folders: dict[int, str] = {}
        """Watched folders by the numbers that inotify gave them."""
        self.fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _failure("cannot watch files", ctypes.get_errno())
        try:
            self._watch_roots()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def batch(self, wait: Callable[[int, int | None], None]) -> set[str]:
        """Wait for changes, and return the relevant paths once nothing has changed for a while.

        Empty if *wait* returned without a change.  Raises Fault.
        """
        wait(self.fd, None)
        changed = self._read()
        deadline = time.monotonic() + LONGEST_SECONDS
        while changed and time.monotonic() < deadline:
            wait(self.fd, int(QUIET_SECONDS * 1000))
            more = self._read()
            if not more:
                break
            changed |= more
        return changed

    def _watch_roots(self) -> None:
        for path in self._paths:
            parent = os.path.dirname(path)
            while not os.path.isdir(parent):
                parent = os.path.dirname(parent)
            self._add(parent)  # To see that the path itself is created, replaced or removed.
            if os.path.isdir(path):
                for _ in self._walk(path):
                    pass

    def _walk(self, top: str) -> Iterator[str]:
        """Watch *top* and the folders below it; yield the path of everything in them."""
        left = [top]
        while left:
            folder = left.pop()
            if self._skips(folder) or not self._add(folder):
                continue
            try:
                entries = list(os.scandir(folder))
            except OSError:
                continue  # It was removed meanwhile, or is not readable.
            for entry in entries:
                yield entry.path
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)

    def _add(self, folder: str) -> bool:
        """Watch one folder; return False if it is none any more."""
        number = self._libc.inotify_add_watch(self.fd, os.fsencode(folder), _WANTED)
        if number < 0:
            reason = ctypes.get_errno()
            if reason in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
                return False
            raise _failure(f"cannot watch {folder}", reason)
        self._folders[number] = folder
        if len(self._folders) > MOST_FOLDERS:
            raise Fault(f"more than {MOST_FOLDERS:,} folders would be watched: ignore some in develop.watch")
        return True

    def _read(self) -> set[str]:
        """Return the relevant paths of the events that have arrived."""
        changed: set[str] = set()
        while True:
            try:
                data = os.read(self.fd, _BUFFER)
            except BlockingIOError:
                return changed
            at = 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                changed.update(path for path in self._paths_of(number, mask, os.fsdecode(name)) if self._relevant(path))

    def _paths_of(self, number: int, mask: int, name: str) -> Iterator[str]:
        if mask & _OVERFLOW:
            yield from self._rescanned()
        elif mask & _IGNORED:
            self._folders.pop(number, None)
        elif number in self._folders and name:
            path = os.path.join(self._folders[number], name)
            if mask & _IS_FOLDER and mask & _MOVED_FROM:
                self._forget(path)
            yield path
            if mask & _IS_FOLDER and mask & (_CREATE | _MOVED_TO):
                yield from self._walk(path)

    def _rescanned(self) -> Iterator[str]:
        """Yield everything that is watched, because the kernel has dropped events."""
        for path in self._paths:
            yield path
            for count, found in enumerate(self._walk(path)):
                if count == MOST_FILES:
                    raise Fault(f"{path} has more than {MOST_FILES:,} files: ignore some in develop.watch")
                yield found

    def _forget(self, folder: str) -> None:
        """Stop watching a folder that was moved away, and those below it."""
        for number, path in list(self._folders.items()):
            if path == folder or path.startswith(f"{folder}/"):
                self._libc.inotify_rm_watch(self.fd, number)
                del self._folders[number]


def _failure(what: str, reason: int) -> Fault:
    if reason == errno.ENOSPC:
        return Fault(f"{what}: the limit of the user is reached: raise fs.inotify.max_user_watches, or ignore folders")
    if reason == errno.EMFILE:
        return Fault(f"{what}: the limit of the user is reached: raise fs.inotify.max_user_instances")
    return Fault(f"{what}: {os.strerror(reason)}")
