"""Notification of changes of one file, by inotify(7).

The folder of the file is watched, and those of all symbolic links on the way to it, so that a file that is replaced
or created is noticed too; the file itself is watched for the case that it is a mount of its own.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from netd.dns.event_loop import READ, Loop

_libc = ctypes.CDLL(None)
_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x2, 0x4, 0x8, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_OF_FOLDER = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_OF_FILE = _MODIFY | _ATTRIB | _CLOSE_WRITE | _DELETE_SELF | _MOVE_SELF
_MAX_LINKS = 8


class FileWatch:
    """Sets ``has_changed`` when the file may have changed; ``renew`` clears it."""

    def __init__(self, path: Path, loop: Loop) -> None:
        self.has_changed = True
        self._path = path
        self._loop = loop
        self._fd = -1

    def renew(self) -> bool:
        """Watch the file as it is now.  Return False if nothing can be watched: the caller must check the file."""
        self._close()
        fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            return False
        folders, file = _places(self._path)
        watched = [_libc.inotify_add_watch(fd, os.fsencode(folder), _OF_FOLDER) >= 0 for folder in folders]
        _libc.inotify_add_watch(fd, os.fsencode(file), _OF_FILE)
        try:
            self._loop.watch(fd, READ, self._on_event)
        except OSError:
            watched = []
        self._fd = fd
        if not watched or not all(watched):
            self._close()
            return False
        self.has_changed = False
        return True

    def _on_event(self, events: int) -> None:
        self.has_changed = True
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            os.close(self._fd)
            self._fd = -1


def _places(path: Path) -> tuple[list[str], str]:
    """Return the folders of *path* and of the symbolic links that it leads to, and the last path."""
    folders, at = [], os.path.abspath(path)
    for _ in range(_MAX_LINKS):
        folder = os.path.dirname(at)
        folders.append(folder)
        try:
            at = os.path.join(folder, os.readlink(at))
        except OSError:
            break
    return folders, at
