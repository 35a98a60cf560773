"""Puts a layer's archive into a folder, for overlayfs: safely, whatever the archive says.

Every parent is opened by openat2 with the folder as root, every last part is made through that descriptor and never
followed, so nothing outside the folder can be read or written.  Whiteouts become overlayfs's own marks.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress

from runtime.images import making
from runtime.images.beneath import open_in
from runtime.images.tarstream import BadArchive, Entry, TarStream, split

_WHITEOUT = b".wh."
_OPAQUE_MARK = b".wh..wh..opq"
_FOLDER = os.O_PATH | os.O_DIRECTORY


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
            "symlink": making.symlink,
            "hardlink": self._hardlink,
            "fifo": making.node,
            "char": making.node,
            "block": making.node,
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
        making.check(entry)
        if not entry.parts:
            self._describe_root(entry)
            return
        folder, name = self._folder(entry.parts[:-1]), entry.parts[-1]
        if name.startswith(_WHITEOUT):
            self._whiteout(entry, folder, name)
            return
        self._makers[entry.kind](entry, folder, name)
        if entry.kind != "hardlink":
            making.own(entry, folder, name)

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
        except (FileNotFoundError, NotADirectoryError):
            self._make_missing(parts)
        except OSError as error:
            raise BadArchive(f"{making.text(path)} cannot be followed: {error.strerror}") from None
        return open_in(self._root, path, _FOLDER)

    def _make_missing(self, parts: tuple[bytes, ...]) -> None:
        above, name = self._open_folder(parts[:-1]), parts[-1]
        try:
            if (was := making.lstat(above, name)) is not None and not making.is_whiteout(was):
                raise BadArchive(f"{making.text(b'/'.join(parts))} is not a folder, but has entries below it")
            making.remove(above, name, was)
            os.mkdir(name, 0o755, dir_fd=above)
            if was is not None:
                making.mark_opaque(above, name)
            elif model := self._below(parts):
                os.chown(name, model.st_uid, model.st_gid, dir_fd=above)
                os.chmod(name, stat.S_IMODE(model.st_mode), dir_fd=above)
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
        was = making.lstat(folder, name)
        if was is None or not stat.S_ISDIR(was.st_mode):
            making.remove(folder, name, was)
            os.mkdir(name, 0o700, dir_fd=folder)
            if was is not None and making.is_whiteout(was):
                making.mark_opaque(folder, name)
        self._times[entry.parts] = entry.mtime

    def _file(self, entry: Entry, folder: int, name: bytes) -> None:
        making.remove(folder, name, making.lstat(folder, name))
        handle = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
        )
        try:
            for chunk in self._stream.content():
                making.write(handle, chunk)
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
            raise making.no_source(entry) from None
        try:
            if making.lstat(source, target[-1]) is None:
                raise making.no_source(entry)
            making.remove(folder, name, making.lstat(folder, name))
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, PermissionError):
            raise making.no_source(entry) from None
        finally:
            os.close(source)

    def _whiteout(self, entry: Entry, folder: int, name: bytes) -> None:
        hidden = name.removeprefix(_WHITEOUT)
        if name == _OPAQUE_MARK:
            making.mark_opaque(folder, b".")
            return
        if hidden in (b"", b".", b"..") or hidden.startswith(_WHITEOUT) or entry.kind != "file":
            raise BadArchive(f"{entry.shown} is not a whiteout that means anything")
        was = making.lstat(folder, hidden)
        if was is None:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=folder)
        elif stat.S_ISDIR(was.st_mode):
            making.mark_opaque(folder, hidden)

    # The rest

    def _describe_root(self, entry: Entry) -> None:
        if entry.kind != "directory":
            raise BadArchive("the archive's root is not a folder")
        handle = open_in(self._root, b".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fchown(handle, entry.uid, entry.gid)
            os.fchmod(handle, entry.mode)
            making.set_xattrs(entry, handle)
        finally:
            os.close(handle)

    def _set_time(self, parts: tuple[bytes, ...], mtime: float) -> None:
        with suppress(OSError):
            handle = open_in(self._root, b"/".join(parts), os.O_RDONLY | os.O_DIRECTORY, links=False)
            try:
                making.touch(handle, mtime)
            finally:
                os.close(handle)
