"""Removes entries of a layer that later entries of its archive replace, and keeps the content of removed files.

The content is needed for the layer's tar recipe, and is deleted with the folder that it is kept in.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from runtime.kernel import openat, tree


class Replaced:
    def __init__(self, aside: Path | None) -> None:
        """*aside* is the path of a folder that is created when the first file is removed; with None nothing is kept."""
        self._path = aside
        self._aside = -1

    @property
    def any(self) -> bool:
        """Whether a file's content has been removed from the layer."""
        return self._aside >= 0

    def remove(self, folder: int, name: bytes, was: os.stat_result | None) -> None:
        """Remove *name*, if it exists, and everything below it."""
        if was is None:
            return
        if not stat.S_ISDIR(was.st_mode):
            self._file(folder, name, was)
            return
        if self._path is not None:
            self._files_below(folder, name)
        tree.remove(folder, name)

    def open(self, inode: int) -> int | None:
        """Open the removed file with this inode; None if no such file was removed."""
        if self._aside < 0 or openat.lstat(self._aside, b"%d" % inode) is None:
            return None
        return openat.open_file(self._aside, b"%d" % inode)

    def close(self) -> None:
        if self._aside >= 0:
            os.close(self._aside)
            self._aside = -1

    def _file(self, folder: int, name: bytes, was: os.stat_result) -> None:
        if self._path is not None and stat.S_ISREG(was.st_mode) and was.st_size:
            kept = b"%d" % was.st_ino
            aside = self._open_aside(self._path)
            if openat.lstat(aside, kept) is None:
                openat.move_file(folder, name, aside, kept)
                return
        os.unlink(name, dir_fd=folder)

    def _files_below(self, folder: int, name: bytes) -> None:
        top = openat.open_folder(folder, name)
        try:
            for step in tree.walk(top):
                if step.kind == "file" and (status := openat.lstat(step.folder, step.name)):
                    self._file(step.folder, step.name, status)
        finally:
            os.close(top)

    def _open_aside(self, path: Path) -> int:
        if self._aside < 0:
            path.mkdir(mode=0o700)
            self._aside = openat.open_tree_root(path)
        return self._aside
