"""Puts a layer's archive into a folder, for overlayfs: safely, whatever the archive says.

Every parent is opened by openat2 with the folder as root, every last part is made through that descriptor and never
followed, so nothing outside the folder can be read or written.  Whiteouts become overlayfs's own marks.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress

from runtime.images.beneath import open_in
from runtime.images.tarstream import BadArchive, Entry, TarStream, split

_WHITEOUT = b".wh."
_OPAQUE_MARK = b".wh..wh..opq"
_OPAQUE = "trusted.overlay.opaque"
_FOLDER = os.O_PATH | os.O_DIRECTORY
_REAL = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(stream: TarStream, root: int, lower: Sequence[int] = ()) -> int:
    """Write every entry of *stream* below the folder *root* and return the bytes of all files.

    *lower* are the layers under it, top first: a folder that the archive only passes through is made as it is there.
    Raises BadArchive for what no layer may hold, OSError when the disk does not take it.
    """
    return _Unpacker(stream, root, lower).run()


class _Unpacker:
    def __init__(self, stream: TarStream, root: int, lower: Sequence[int]) -> None:
        self._stream = stream
        self._root = root
        self._lower = lower
        self._times: dict[tuple[bytes, ...], float] = {}
        self._parent: tuple[tuple[bytes, ...], int] | None = None
        self._makers: dict[str, Callable[[Entry, int, bytes], None]] = {
            "file": self._file,
            "directory": self._directory,
            "symlink": _symlink,
            "hardlink": self._hardlink,
            "fifo": _node,
            "char": _node,
            "block": _node,
        }

    def run(self) -> int:
        size = 0
        try:
            for entry in self._stream:
                size += entry.size
                self._one(entry)
        finally:
            self._forget_parent()
        for parts, mtime in self._times.items():
            self._set_time(parts, mtime)
        return size

    def _one(self, entry: Entry) -> None:
        _check(entry)
        if not entry.parts:
            self._describe_root(entry)
            return
        folder, name = self._folder(entry.parts[:-1]), entry.parts[-1]
        if name.startswith(_WHITEOUT):
            self._whiteout(entry, folder, name)
            return
        self._makers[entry.kind](entry, folder, name)
        if entry.kind != "hardlink":
            _own(entry, folder, name)

    # Folders

    def _folder(self, parts: tuple[bytes, ...]) -> int:
        if self._parent is None or self._parent[0] != parts:
            self._forget_parent()
            self._parent = (parts, self._open_folder(parts))
        return self._parent[1]

    def _forget_parent(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def _open_folder(self, parts: tuple[bytes, ...]) -> int:
        path = b"/".join(parts)
        try:
            return open_in(self._root, path, _FOLDER)
        except FileNotFoundError:
            self._make_missing(parts)
        except NotADirectoryError:
            raise BadArchive(
                f"{path.decode(errors='backslashreplace')} is not a folder, but has entries below it"
            ) from None
        except OSError as error:
            raise BadArchive(f"{path.decode(errors='backslashreplace')} cannot be followed: {error.strerror}") from None
        return open_in(self._root, path, _FOLDER)

    def _make_missing(self, parts: tuple[bytes, ...]) -> None:
        above = self._open_folder(parts[:-1])
        try:
            os.mkdir(parts[-1], 0o755, dir_fd=above)
            if model := self._below(parts):
                os.chown(parts[-1], model.st_uid, model.st_gid, dir_fd=above)
                os.chmod(parts[-1], stat.S_IMODE(model.st_mode), dir_fd=above)
        except FileExistsError:
            raise BadArchive(
                f"{b'/'.join(parts).decode(errors='backslashreplace')} leads nowhere, but has entries below it"
            ) from None
        finally:
            os.close(above)

    def _below(self, parts: tuple[bytes, ...]) -> os.stat_result | None:
        """Return what the layers below say of a folder that this one only passes through."""
        for layer in self._lower:
            with suppress(OSError):
                handle = open_in(layer, b"/".join(parts), _FOLDER, links=False)
                try:
                    return os.fstat(handle)
                finally:
                    os.close(handle)
        return None

    # Kinds

    def _directory(self, entry: Entry, folder: int, name: bytes) -> None:
        was = _lstat(folder, name)
        if was is None or not stat.S_ISDIR(was.st_mode):
            _remove(folder, name, was)
            os.mkdir(name, 0o700, dir_fd=folder)
            if was is not None and _is_whiteout(was):
                _mark_opaque(folder, name)
        self._times[entry.parts] = entry.mtime

    def _file(self, entry: Entry, folder: int, name: bytes) -> None:
        _remove(folder, name, _lstat(folder, name))
        handle = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
        )
        try:
            for chunk in self._stream.content():
                _write(handle, chunk)
        finally:
            os.close(handle)

    def _hardlink(self, entry: Entry, folder: int, name: bytes) -> None:
        target = split(entry.link)
        if not target:
            raise BadArchive(f"{entry.shown} is a hard link to the root")
        if target == entry.parts:
            return
        try:
            source = open_in(self._root, b"/".join(target[:-1]), _FOLDER)
        except OSError:
            raise _no_source(entry) from None
        try:
            if _lstat(source, target[-1]) is None:
                raise _no_source(entry)
            _remove(folder, name, _lstat(folder, name))
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, PermissionError):
            raise _no_source(entry) from None
        finally:
            os.close(source)

    def _whiteout(self, entry: Entry, folder: int, name: bytes) -> None:
        hidden = name.removeprefix(_WHITEOUT)
        if name == _OPAQUE_MARK:
            _mark_opaque(folder, b".")
            return
        if hidden in (b"", b".", b"..") or hidden.startswith(_WHITEOUT) or entry.kind != "file":
            raise BadArchive(f"{entry.shown} is not a whiteout that means anything")
        was = _lstat(folder, hidden)
        if was is None:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=folder)
        elif stat.S_ISDIR(was.st_mode):
            _mark_opaque(folder, hidden)

    # The rest

    def _describe_root(self, entry: Entry) -> None:
        if entry.kind != "directory":
            raise BadArchive("the archive's root is not a folder")
        handle = open_in(self._root, b".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fchown(handle, entry.uid, entry.gid)
            os.fchmod(handle, entry.mode)
            _set_xattrs(entry, handle)
        finally:
            os.close(handle)

    def _set_time(self, parts: tuple[bytes, ...], mtime: float) -> None:
        with suppress(OSError):
            handle = open_in(self._root, b"/".join(parts), os.O_RDONLY | os.O_DIRECTORY, links=False)
            try:
                _touch(handle, mtime)
            finally:
                os.close(handle)


def _check(entry: Entry) -> None:
    if entry.kind == "char" and entry.device == (0, 0):
        raise BadArchive(f"{entry.shown} is a forged overlay whiteout")
    for key in entry.xattrs:
        if key.startswith(("trusted.", "user.overlay.")):
            raise BadArchive(f"{entry.shown} carries the attribute {key}, which no layer may have")
    if not (0 <= entry.uid < 2**32 - 1 and 0 <= entry.gid < 2**32 - 1):
        raise BadArchive(f"{entry.shown} has an impossible owner {entry.uid}:{entry.gid}")


def _own(entry: Entry, folder: int, name: bytes) -> None:
    """Set owner, mode, attributes and time, in this order: a change of owner takes setuid bits away."""
    os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
    if entry.kind == "symlink":
        with suppress(OSError, OverflowError):
            os.utime(name, ns=_ns(entry.mtime), dir_fd=folder, follow_symlinks=False)
        return
    os.chmod(name, entry.mode, dir_fd=folder)
    if entry.kind in ("file", "directory") and entry.xattrs:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            _set_xattrs(entry, handle)
        finally:
            os.close(handle)
    if entry.kind != "directory":
        with suppress(OSError, OverflowError):
            os.utime(name, ns=_ns(entry.mtime), dir_fd=folder, follow_symlinks=False)


def _set_xattrs(entry: Entry, handle: int) -> None:
    for key, value in entry.xattrs.items():
        if key.startswith("user.") or key == "security.capability":
            try:
                os.setxattr(handle, key, value)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                    raise


def _touch(handle: int, mtime: float) -> None:
    with suppress(OSError, OverflowError):
        os.utime(handle, ns=_ns(mtime))


def _ns(mtime: float) -> tuple[int, int]:
    moment = int(mtime * 10**9)
    return (moment, moment)


def _symlink(entry: Entry, folder: int, name: bytes) -> None:
    if not entry.link or b"\0" in entry.link:
        raise BadArchive(f"{entry.shown} is a symbolic link to nothing")
    _remove(folder, name, _lstat(folder, name))
    os.symlink(entry.link, name, dir_fd=folder)


def _node(entry: Entry, folder: int, name: bytes) -> None:
    kinds = {"fifo": stat.S_IFIFO, "char": stat.S_IFCHR, "block": stat.S_IFBLK}
    _remove(folder, name, _lstat(folder, name))
    os.mknod(name, kinds[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=folder)


def _write(handle: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]


def _lstat(folder: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _remove(folder: int, name: bytes, was: os.stat_result | None) -> None:
    """Take away what a later entry replaces."""
    if was is None:
        return
    if stat.S_ISDIR(was.st_mode):
        shutil.rmtree(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def _is_whiteout(was: os.stat_result) -> bool:
    return stat.S_ISCHR(was.st_mode) and was.st_rdev == 0


def _mark_opaque(folder: int, name: bytes) -> None:
    handle = os.open(name, _REAL, dir_fd=folder)
    try:
        os.setxattr(handle, _OPAQUE, b"y")
    finally:
        os.close(handle)


def _no_source(entry: Entry) -> BadArchive:
    return BadArchive(
        f"{entry.shown} is a hard link to {entry.link.decode(errors='backslashreplace')}, which is not there"
    )
