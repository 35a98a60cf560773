"""Copies trees of images, with owners, modes, times, attributes and links; among them a folder into a new volume.

The copy is created in a folder that only the daemon can access, and moved into the volume when it is complete: a
running container may have mounted the volume already, and could replace names in it by symbolic links.  A volume on
another file system is filled directly, also by descriptor; the copy fails if a folder of the volume is moved meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from runtime.kernel import openat, tree
from runtime.storage import detached
from runtime.storage.deferred_delete import DeferredDelete

_CHUNK = 1 << 20


def fill(target: Path, layers: Sequence[str], path: str, deferred_delete: DeferredDelete) -> bool:
    """Copy the folder *path* of the image with *layers*, top first, into *target*; blocking.

    Does nothing and returns False if *target* has entries or the image has no such folder.  Files that a container
    creates in *target* meanwhile are kept.
    """
    volume = openat.open_tree_root(target)
    try:
        if any(openat.names(volume)):
            return False
        root = detached.overlay(layers)
        try:
            source = openat.open_in(root, path.encode(), os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return False
        finally:
            os.close(root)
        try:
            _copy_into(volume, source, deferred_delete)
            return True
        finally:
            os.close(source)
    finally:
        os.close(volume)


def has_folder(layers: Sequence[str], path: str) -> bool:
    """Return whether the image with *layers* has the folder *path*; blocking."""
    root = detached.overlay(layers)
    try:
        os.close(openat.open_in(root, path.encode(), openat.PARENT))
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    finally:
        os.close(root)


def _copy_into(volume: int, source: int, deferred_delete: DeferredDelete) -> None:
    scratch = deferred_delete.scratch_path("copy-up")
    scratch.mkdir(mode=0o700)
    try:
        for name in ("tree", "links"):
            (scratch / name).mkdir(mode=0o700)
        made, links = openat.open_tree_root(scratch / "tree"), openat.open_tree_root(scratch / "links")
        try:
            _Copy(made, links).run(source)
            _move_all(made, volume)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _Copy(volume).run(source)
        finally:
            os.close(made)
            os.close(links)
        openat.copy_metadata(source, volume)
    finally:
        deferred_delete.delete_now(scratch)


def copy_tree(source: int, target: int, links: int) -> None:
    """Copy the content of the open folder *source*, and its metadata, into the open folder *target*.

    *links* is an empty folder for hard links, on the same file system as *target*.
    """
    _Copy(target, links).run(source)
    openat.copy_metadata(source, target)


def _move_all(made: int, volume: int) -> None:
    for name in list(openat.names(made)):
        with suppress(FileExistsError):
            openat.move_new(made, name, volume, name)


class _Copy:
    """The copy of one tree, with hard links preserved.

    *links* is a folder with a link to the first copy of every file that has several names, named by device and inode;
    without *links*, each name becomes a file of its own.
    """

    def __init__(self, target: int, links: int | None = None) -> None:
        self._target = os.dup(target)
        self._links = links
        self._above = array("Q")

    def run(self, source: int) -> None:
        """Copy the content of *source*; existing files are kept."""
        try:
            for step in tree.walk(source):
                if step.kind == "enter":
                    self._enter(step.name)
                elif step.kind == "leave":
                    openat.copy_metadata(step.inner, self._target)
                    self._leave()
                else:
                    with suppress(FileExistsError):
                        self._file(step.folder, step.name)
        finally:
            os.close(self._target)

    def _enter(self, name: bytes) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=self._target)
        inner = openat.open_folder(self._target, name)
        self._above.extend(_identity(self._target))
        self._move_to(inner)

    def _leave(self) -> None:
        parent = openat.open_parent(self._target)
        inode, device = self._above.pop(), self._above.pop()
        if _identity(parent) != (device, inode):
            os.close(parent)
            raise OSError(errno.ESTALE, "a folder of the volume was moved during the copy")
        self._move_to(parent)

    def _move_to(self, folder: int) -> None:
        os.close(self._target)
        self._target = folder

    def _file(self, source: int, name: bytes) -> None:
        status = openat.lstat(source, name)
        if status is None or _is_whiteout(status):
            return
        copy_linked(source, self._target, name, status, self._links)


def copy_linked(source: int, target: int, name: bytes, status: os.stat_result, links: int | None) -> None:
    """Do what :func:`copy_file` does; a further name of a file that is in *links* becomes a hard link."""
    if status.st_nlink < 2 or links is None:
        copy_file(source, target, name, status)
        return
    inode = f"{status.st_dev}-{status.st_ino}"
    if openat.lstat(links, inode) is None:
        copy_file(source, target, name, status)
        openat.link(target, name, links, inode)
    else:
        openat.link(links, inode, target, name)


def _identity(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


def _is_whiteout(status: os.stat_result) -> bool:
    """Return whether overlayfs would hide the file: a single layer is read without overlayfs."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def copy_file(source: int, target: int, name: bytes, status: os.stat_result) -> None:
    """Copy *name*, not a folder, from the open folder *source* to *target*; *status* is that of the original."""
    if stat.S_ISREG(status.st_mode):
        _content(source, target, name)
        return
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    else:
        os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=target)
    openat.chown(target, name, status.st_uid, status.st_gid)
    if not stat.S_ISLNK(status.st_mode):
        openat.chmod(target, name, stat.S_IMODE(status.st_mode))
    openat.utime(target, name, status.st_mtime_ns)


def _content(source: int, target: int, name: bytes) -> None:
    original = openat.open_file(source, name)
    try:
        copy = openat.create(target, name)
        try:
            _copy_data(original, copy)
            openat.copy_metadata(original, copy)
        finally:
            os.close(copy)
    finally:
        os.close(original)


def _copy_data(original: int, copy: int) -> None:
    """Copy the content of a file, and its holes as holes."""
    size, position = os.fstat(original).st_size, 0
    while position < size:
        try:
            position = os.lseek(original, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # the rest is a hole
        end = os.lseek(original, position, os.SEEK_HOLE)
        os.lseek(copy, position, os.SEEK_SET)
        while position < end:
            sent = os.sendfile(copy, original, position, min(end - position, _CHUNK))
            if not sent:
                raise OSError(errno.EIO, "a file of the image became shorter during the copy")
            position += sent
    os.ftruncate(copy, size)
