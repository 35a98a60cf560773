"""Copies files and trees into the root of an image that is being built.

Existing files are replaced, folders are merged, and links of the image are resolved within it.  Owners and modes are
those of the sources unless the instruction sets them.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from netd.common.errors import BadRequest
from netd.path_patterns import Pattern
from runtime.build.dockerfile.faults import shortened
from runtime.build.files import plain_walk
from runtime.build.files.file_modes import ModeChange
from runtime.build.files.source_selection import Source
from runtime.kernel import openat, tree

_CHUNK = 1 << 20
_DEEPEST = 256
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """``owner`` is (uid, gid), None keeps the source's; ``follow`` resolves links of the image in the target's path."""

    owner: tuple[int, int] | None = None
    mode: ModeChange | None = None
    exclude: Sequence[Pattern] = field(default=())
    follow: bool = True


def make_folders(root: int, path: str, options: CopyOptions) -> int:
    """Open the folder *path* of the image, and create what is missing of it.  Raises BadRequest if a file is there."""
    flags = _FOLDER if options.follow else _FOLDER | os.O_NOFOLLOW
    current = openat.open_in(root, b".", _FOLDER)
    walked = ""
    for word in path.strip("/").split("/") if path.strip("/") else ():
        walked = posixpath.join(walked, word)
        try:
            inner = _open_or_make(root, current, walked, word, flags, options)
        except (FileExistsError, NotADirectoryError, FileNotFoundError):
            raise BadRequest(f"cannot copy to non-directory: /{shortened(walked)}") from None
        finally:
            os.close(current)
        current = inner
    return current


def _open_or_make(root: int, above: int, walked: str, word: str, flags: int, options: CopyOptions) -> int:
    try:
        return openat.open_in(root, os.fsencode(walked), flags, links=options.follow)
    except FileNotFoundError:
        os.mkdir(word, 0o755, dir_fd=above)
        openat.chmod(above, word, 0o755)
        if options.owner:
            openat.chown(above, word, *options.owner)
        return openat.open_in(root, os.fsencode(walked), flags, links=options.follow)


def is_folder(root: int, path: str) -> bool:
    """Return whether *path* of the image leads to a folder."""
    try:
        os.close(openat.open_in(root, os.fsencode(path.strip("/")), _FOLDER))
    except OSError:
        return False
    return True


def copy(tree_root: int, source: Source, root: int, target: str, options: CopyOptions) -> None:
    """Copy *source* of the tree *tree_root* to the path *target* of the image *root*.

    The content of a folder is merged into *target*; a file becomes *target*.
    """
    if source.is_folder:
        _copy_folder(tree_root, source, root, target, options)
        return
    above, name = posixpath.split(target.rstrip("/"))
    folder = make_folders(root, above, options)
    try:
        _copy_resolved(tree_root, source, folder, os.fsencode(name), options)
    finally:
        os.close(folder)


def _copy_resolved(tree_root: int, source: Source, folder: int, name: bytes, options: CopyOptions) -> None:
    """Copy the file that a source leads to, links resolved within its tree."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    probe = openat.open_in(tree_root, os.fsencode(source.path), os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(probe).st_mode):
            raise BadRequest(f"{shortened(source.path)} is neither a file nor a folder: only those are copied by name")
    finally:
        os.close(probe)
    handle = openat.open_in(tree_root, os.fsencode(source.path), flags)
    try:
        write_file(handle, folder, name, options)
    finally:
        os.close(handle)


def write_file(source: int, folder: int, name: bytes, options: CopyOptions) -> None:
    """Copy the open regular file *source* as *name* in *folder*, in place of what has that name."""
    _make_room(folder, name)
    copied = openat.create(folder, name)
    try:
        while os.sendfile(copied, source, None, _CHUNK):
            pass
        openat.copy_metadata(source, copied)
        _change_metadata(copied, os.fstat(source), options)
    finally:
        os.close(copied)


def write_new(file: BinaryIO, root: int, target: str, mode: int, options: CopyOptions) -> None:
    """Write the content of *file* as the path *target* of the image *root*, with *mode* unless the options set one."""
    above, name = posixpath.split(target.rstrip("/"))
    folder = make_folders(root, above, options)
    try:
        _make_room(folder, os.fsencode(name))
        handle = openat.create(folder, name)
        try:
            while data := file.read(_CHUNK):
                openat.write(handle, data)
            os.fchmod(handle, mode)
            _change_metadata(handle, os.fstat(handle), options)
        finally:
            os.close(handle)
    finally:
        os.close(folder)


def _change_metadata(handle: int, status: os.stat_result, options: CopyOptions) -> None:
    """Apply owner and mode of the instruction; a change of the owner clears setuid bits, so the mode is set again."""
    mode = stat.S_IMODE(status.st_mode)
    if options.owner and options.owner != (status.st_uid, status.st_gid):
        os.fchown(handle, *options.owner)
        os.fchmod(handle, mode)
    if options.mode is not None:
        os.fchmod(handle, options.mode.apply(mode, is_folder=stat.S_ISDIR(status.st_mode)))


def _make_room(folder: int, name: bytes) -> None:
    status = openat.lstat(folder, name)
    if status is None:
        return
    if stat.S_ISDIR(status.st_mode):
        raise BadRequest(
            f"cannot replace the directory {shortened(os.fsdecode(name))} with a file: choose another name"
        )
    os.unlink(name, dir_fd=folder)


# Trees


def _copy_folder(tree_root: int, source: Source, root: int, target: str, options: CopyOptions) -> None:
    origin = openat.open_in(tree_root, os.fsencode(source.path), _FOLDER)
    try:
        new = not is_folder(root, target)
        folder = make_folders(root, target, options)
        copying = _TreeCopy(root, target.strip("/"), folder, options)
        try:
            copying.run(origin)
            if new:
                openat.copy_metadata(origin, folder)
                _change_metadata(folder, os.fstat(origin), options)
        finally:
            copying.close()
    finally:
        os.close(origin)


class _TreeCopy:
    """The copy of one tree; ``_open`` are the folders of the image from the target to the current one."""

    def __init__(self, root: int, path: str, folder: int, options: CopyOptions) -> None:
        self._root = root
        self._path = path
        self._open = [folder]
        self._options = options
        self._created: list[bool] = []
        self._links: dict[tuple[int, int], str] = {}
        """The paths of the first copies of files that have several names, by device and inode of the source."""

    def close(self) -> None:
        for handle in self._open:
            os.close(handle)

    def run(self, origin: int) -> None:
        for visit in plain_walk.walk(origin, self._options.exclude):
            if visit.kind == "enter":
                self._enter(visit)
            elif visit.kind == "leave":
                self._leave(visit)
            else:
                self._file(visit)

    def _enter(self, visit: plain_walk.Visit) -> None:
        if len(self._open) > _DEEPEST:
            raise BadRequest(f"folders are nested deeper than {_DEEPEST} levels: make the tree flatter")
        above = self._open[-1]
        status = openat.lstat(above, visit.name)
        created = status is None
        if status is not None and stat.S_ISLNK(status.st_mode) and self._options.follow:
            self._open.append(self._through_link(visit))
        else:
            if status is not None and not stat.S_ISDIR(status.st_mode):
                raise BadRequest(f"cannot copy to non-directory: /{shortened(posixpath.join(self._path, visit.path))}")
            if created:
                os.mkdir(visit.name, 0o700, dir_fd=above)
            self._open.append(openat.open_folder(above, visit.name))
        self._created.append(created)

    def _through_link(self, visit: plain_walk.Visit) -> int:
        path = posixpath.join(self._path, visit.path)
        try:
            return openat.open_in(self._root, os.fsencode(path), _FOLDER)
        except OSError:
            raise BadRequest(f"cannot copy to non-directory: /{shortened(path)}") from None

    def _leave(self, visit: plain_walk.Visit) -> None:
        """Set the metadata of a folder that was created, or whose owner or mode the instruction sets."""
        folder = self._open.pop()
        try:
            created = self._created.pop()
            if created:
                openat.copy_metadata(visit.inner, folder)
            if created or self._options.owner or self._options.mode:
                _change_metadata(folder, visit.status, self._options)
        finally:
            os.close(folder)

    def _file(self, visit: plain_walk.Visit) -> None:
        folder = self._open[-1]
        if self._linked(visit, folder):
            return
        if stat.S_ISREG(visit.status.st_mode):
            handle = openat.open_file(visit.folder, visit.name)
            try:
                write_file(handle, folder, visit.name, self._options)
            finally:
                os.close(handle)
            return
        if stat.S_ISSOCK(visit.status.st_mode):
            return
        _make_room(folder, visit.name)
        copy_special(visit, folder)
        if self._options.owner:
            openat.chown(folder, visit.name, *self._options.owner)
        else:
            openat.chown(folder, visit.name, visit.status.st_uid, visit.status.st_gid)

    def _linked(self, visit: plain_walk.Visit, folder: int) -> bool:
        """Make a hard link to the copy of the same file, if there is one; return whether it was made."""
        status = visit.status
        if status.st_nlink < 2 or not stat.S_ISREG(status.st_mode):
            return False
        first = self._links.setdefault((status.st_dev, status.st_ino), visit.path)
        if first == visit.path:
            return False
        above, name = posixpath.split(first)
        try:
            origin = openat.open_in(self._open[0], os.fsencode(above), openat.PARENT, links=False)
        except OSError:
            return False  # The first copy is behind a link of the image.
        try:
            _make_room(folder, visit.name)
            openat.link(origin, name, folder, visit.name)
        finally:
            os.close(origin)
        return True


def copy_special(visit: plain_walk.Visit, folder: int) -> None:
    """Copy a symbolic link, device or pipe."""
    if stat.S_ISLNK(visit.status.st_mode):
        os.symlink(os.readlink(visit.name, dir_fd=visit.folder), visit.name, dir_fd=folder)
    else:
        try:
            os.mknod(visit.name, visit.status.st_mode, visit.status.st_rdev, dir_fd=folder)
        except PermissionError as error:
            raise OSError(errno.EPERM, "a device cannot be created", os.fsdecode(visit.name)) from error
        openat.chmod(folder, visit.name, stat.S_IMODE(visit.status.st_mode))
    openat.utime(folder, visit.name, visit.status.st_mtime_ns)


def remove(root: int, path: str) -> None:
    """Delete *path* below the open folder *root*, without following links, if it exists."""
    above, name = posixpath.split(path.strip("/"))
    try:
        folder = openat.open_in(root, os.fsencode(above), _FOLDER, links=False)
    except OSError:
        return
    try:
        tree.remove(folder, name)
    finally:
        os.close(folder)
