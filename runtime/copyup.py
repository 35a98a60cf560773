"""Fills a new volume with what the image has at its place: owners, modes, attributes and links as they are.

The source is an image's read-only tree and the target a folder that nobody uses yet; both are walked by descriptors
and no symbolic link is followed once inside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.images.beneath import open_in
from runtime.kernel import linux

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


def fill(target: Path, layers: Sequence[str], path: str) -> bool:
    """Copy the folder *path* of the image of *layers* (top first) into *target*; blocks.

    Nothing happens and False is returned when *target* has entries already or the image has no such folder.
    """
    if any(target.iterdir()):
        return False
    with _image(layers) as root:
        try:
            source = open_in(root, path.encode(), os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        copy = os.open(target, _FOLDER)
        try:
            _Copy(copy).folder(source, copy, "")
            return True
        finally:
            os.close(source)
            os.close(copy)


@contextmanager
def _image(layers: Sequence[str]) -> Iterator[int]:
    """Open the root of the image: its only layer, or an overlay that no mount table shows."""
    root = os.open(layers[0], _FOLDER) if len(layers) == 1 else _overlay(layers)
    try:
        yield root
    finally:
        os.close(root)


def _overlay(layers: Sequence[str]) -> int:
    context = linux.fsopen("overlay")
    try:
        for layer in layers:
            linux.fsconfig_string(context, "lowerdir+", layer)
        linux.fsconfig_create(context)
        return linux.fsmount(context, linux.ATTR_RDONLY)
    finally:
        os.close(context)


class _Copy:
    """One tree on its way; files that are one in the source are one in the copy."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._links: dict[int, str] = {}

    def folder(self, source: int, target: int, path: str) -> None:
        """Copy all that *source* holds into *target*, then owner, mode and times; *path* is where it is in the copy."""
        for entry in os.scandir(source):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._subfolder(source, target, entry.name, path)
            elif status.st_nlink > 1 and status.st_ino in self._links:
                os.link(self._links[status.st_ino], entry.name, src_dir_fd=self._root, dst_dir_fd=target)
            else:
                self._links[status.st_ino] = f"{path}{entry.name}"
                _leaf(source, target, entry.name, status)
        _describe(source, target)

    def _subfolder(self, source: int, target: int, name: str, path: str) -> None:
        inner = os.open(name, _FOLDER, dir_fd=source)
        try:
            os.mkdir(name, 0o700, dir_fd=target)
            copy = os.open(name, _FOLDER, dir_fd=target)
            try:
                self.folder(inner, copy, f"{path}{name}/")
            finally:
                os.close(copy)
        finally:
            os.close(inner)


def _leaf(source: int, target: int, name: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        _file(source, target, name)
        return
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    else:
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
    os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)


def _file(source: int, target: int, name: str) -> None:
    original = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        copy = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while os.sendfile(copy, original, None, _CHUNK):
                pass
            _describe(original, copy)
        finally:
            os.close(copy)
    finally:
        os.close(original)


def _describe(source: int, target: int) -> None:
    """Give *target* the owner, mode, attributes and times of *source*."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for key in os.listxattr(source):
        if key.startswith("user.") or key == "security.capability":
            with suppress(OSError):
                os.setxattr(target, key, os.getxattr(source, key))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
