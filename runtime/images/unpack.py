"""Unpacks a layer's archive into a folder for overlayfs.

Every parent is opened by openat2 with the folder as root, and the last component is created relative to that
descriptor and never followed, so no archive can read or write a file outside the folder.  Whiteouts are converted to
those of overlayfs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress

from runtime.images import layer_files
from runtime.images.recipe import LONGEST_PATH, RecordedSource
from runtime.images.replaced import Replaced
from runtime.images.tarstream import BadArchive, Entry, TarStream, shown, split
from runtime.kernel import openat
from runtime.kernel.openat import open_in

_WHITEOUT = b".wh."
_OPAQUE_MARK = b".wh..wh..opq"
_FOLDER = openat.PARENT
_NAMES_KEPT = 64 << 20
_MOST_MISSING = 100_000
"""The largest number of folders created without an entry of their own; one entry can require a hundred of them."""
_ENTERED = 0o555


def unpack(
    stream: TarStream,
    root: int,
    lower: Sequence[int] = (),
    *,
    private_root: bool = True,
    recorded: RecordedSource | None = None,
    replaced: Replaced | None = None,
) -> int:
    """Write every entry of *stream* below the folder *root*; return the size of all files in bytes.

    *lower* are the layers below it, top first: owner and mode of a folder without an entry are copied from them.
    Unless *private_root*, the metadata of a root that is not accessible to all users is ignored.
    *recorded* is the source of *stream* if a tar recipe is recorded; *replaced* keeps files that later entries replace.
    Raises BadArchive for entries that are not allowed in a layer, OSError if writing fails.
    """
    return Unpacker(stream, root, lower, private_root, recorded, replaced or Replaced(None)).run()


class Unpacker:
    """One unpacking; :mod:`runtime.images.extract` derives the extraction into a container's files."""

    def __init__(
        self,
        stream: TarStream,
        root: int,
        lower: Sequence[int],
        private_root: bool,
        recorded: RecordedSource | None,
        replaced: Replaced,
    ) -> None:
        self._stream = stream
        self._root = root
        self._lower = lower
        self._private_root = private_root
        self._recorded = recorded
        self._remove = replaced.remove
        self._times: dict[bytes, int] = {}
        self._names_kept = 0
        self._missing = 0
        self._parent: tuple[tuple[bytes, ...], int] | None = None
        self._real_parent: bytes | None = b""
        """The path of the current parent without symbolic links; None if it is too long."""
        self._makers: dict[str, Callable[[Entry, int, bytes], None]] = {
            "file": self._file,
            "directory": self._directory,
            "symlink": self._symlink,
            "hardlink": self._hardlink,
            "fifo": self._node,
            "char": self._node,
            "block": self._node,
        }

    def run(self) -> int:
        size = 0
        try:
            for entry in self._stream:
                size += entry.size
                layer_files.check(entry)
                try:
                    self._make(entry)
                except OSError as error:
                    layer_files.raise_archive_error(entry, error)
        finally:
            self._close_parent()
        for path, mtime in self._times.items():
            self._set_time(path, mtime)
        return size

    def _make(self, entry: Entry) -> None:
        if not entry.parts:
            self._set_root_metadata(entry)
            return
        folder, name = self._folder(entry.parts[:-1]), entry.parts[-1]
        if name.startswith(_WHITEOUT):
            self._whiteout(entry, folder, name)
            return
        self._makers[entry.kind](entry, folder, name)

    # Folders

    def _folder(self, parts: tuple[bytes, ...]) -> int:
        if self._parent is None or self._parent[0] != parts:
            self._close_parent()
            self._parent = (parts, self._open_parent(parts))
        return self._parent[1]

    def _open_parent(self, parts: tuple[bytes, ...]) -> int:
        self._real_parent = b"/".join(parts)
        with suppress(OSError):
            return open_in(self._root, self._real_parent, _FOLDER, links=False)
        folder = self._open_folder(parts)
        self._real_parent = openat.path_below(self._root, folder)
        return folder

    def _close_parent(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def _open_folder(self, parts: tuple[bytes, ...]) -> int:
        path = b"/".join(parts)
        with suppress(FileNotFoundError, NotADirectoryError):
            return self._follow(path)
        above = self._follow(b"")
        for depth in range(1, len(parts) + 1):
            try:
                inner = self._follow_or_make(parts[:depth], above)
            finally:
                os.close(above)
            above = inner
        return above

    def _follow(self, path: bytes) -> int:
        """Open a folder of the layer; links are resolved within it.  Raises FileNotFoundError, NotADirectoryError."""
        try:
            return open_in(self._root, path, _FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise BadArchive(f"{shown(path)} cannot be followed: {error.strerror}") from None

    def _follow_or_make(self, parts: tuple[bytes, ...], above: int) -> int:
        path = b"/".join(parts)
        with suppress(FileNotFoundError, NotADirectoryError):
            return self._follow(path)
        self._create_missing(parts, above)
        return self._follow(path)

    def _create_missing(self, parts: tuple[bytes, ...], above: int) -> None:
        name = parts[-1]
        was = openat.lstat(above, name)
        if was is not None and not layer_files.is_whiteout(was):
            raise BadArchive(f"{shown(b'/'.join(parts))} is not a folder, but has entries below it")
        self._remove(above, name, was)
        self._count_missing()
        os.mkdir(name, 0o700, dir_fd=above)
        model = self._below(parts) if was is None else None
        if was is not None:
            layer_files.mark_opaque(above, name)
        if model:
            openat.chown(above, name, model.st_uid, model.st_gid)
        openat.chmod(above, name, stat.S_IMODE(model.st_mode) if model else 0o755)

    def _count_missing(self) -> None:
        self._missing += 1
        if self._missing > _MOST_MISSING:
            raise BadArchive(f"the archive leaves out more than {_MOST_MISSING} folders that its entries are in")

    def _below(self, parts: tuple[bytes, ...]) -> os.stat_result | None:
        """Return the status of a folder in the topmost lower layer that has it; None if no layer has it."""
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
        was = openat.lstat(folder, name)
        if was is None or not stat.S_ISDIR(was.st_mode):
            self._remove(folder, name, was)
            os.mkdir(name, 0o700, dir_fd=folder)
            if was is not None and layer_files.is_whiteout(was):
                layer_files.mark_opaque(folder, name)
        handle = openat.open_folder(folder, name)
        try:
            layer_files.set_metadata(entry, handle)
        finally:
            os.close(handle)
        self._record_time(b"/".join(entry.parts), entry.mtime)

    def _file(self, entry: Entry, folder: int, name: bytes) -> None:
        try:
            handle = openat.create(folder, name)
        except FileExistsError:
            self._remove(folder, name, openat.lstat(folder, name))
            handle = openat.create(folder, name)
        try:
            self._content(entry, handle, name)
            layer_files.set_metadata(entry, handle)
            layer_files.set_time(handle, entry.mtime)
        finally:
            os.close(handle)

    def _content(self, entry: Entry, handle: int, name: bytes) -> None:
        if entry.regions is not None:
            openat.write_regions(handle, self._stream.packed(), entry.regions, entry.size)
            return
        path = self._real_path(name)
        recorded = self._recorded if entry.size and path else None
        if recorded is not None:
            recorded.begin_file()
        for chunk in self._stream.packed():
            openat.write(handle, chunk)
        if recorded is not None:
            recorded.end_file(path, handle)

    def _real_path(self, name: bytes) -> bytes:
        """Return the path of *name* without symbolic links, in the current parent; b"" if it is too long."""
        if self._real_parent is None:
            return b""
        path = self._real_parent + b"/" + name if self._real_parent else name
        return path if len(path) <= LONGEST_PATH else b""

    def _symlink(self, entry: Entry, folder: int, name: bytes) -> None:
        self._remove(folder, name, openat.lstat(folder, name))
        layer_files.symlink(entry, folder, name)

    def _node(self, entry: Entry, folder: int, name: bytes) -> None:
        self._remove(folder, name, openat.lstat(folder, name))
        layer_files.node(entry, folder, name)

    def _hardlink(self, entry: Entry, folder: int, name: bytes) -> None:
        target = split(entry.link)
        if not target:
            raise BadArchive(f"{entry.shown} is a hard link to the root")
        if target == entry.parts:
            return
        try:
            source = open_in(self._root, b"/".join(target[:-1]), _FOLDER)
        except OSError:
            raise layer_files.no_source(entry) from None
        try:
            if openat.lstat(source, target[-1]) is None:
                raise layer_files.no_source(entry)
            self._remove(folder, name, openat.lstat(folder, name))
            openat.link(source, target[-1], folder, name)
        except (FileNotFoundError, PermissionError):
            raise layer_files.no_source(entry) from None
        finally:
            os.close(source)

    def _whiteout(self, entry: Entry, folder: int, name: bytes) -> None:
        hidden = name.removeprefix(_WHITEOUT)
        if name == _OPAQUE_MARK:
            layer_files.mark_opaque(folder, b".")
            return
        if hidden in (b"", b".", b"..") or hidden.startswith(_WHITEOUT) or entry.kind != "file":
            raise BadArchive(f"{entry.shown} is not a valid whiteout")
        was = openat.lstat(folder, hidden)
        if was is None:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=folder)
        elif stat.S_ISDIR(was.st_mode):
            layer_files.mark_opaque(folder, hidden)

    # Metadata

    def _set_root_metadata(self, entry: Entry) -> None:
        if entry.kind != "directory":
            raise BadArchive("the archive's root is not a folder")
        if not self._private_root and entry.mode & _ENTERED != _ENTERED:
            return
        layer_files.set_metadata(entry, self._root)

    def _record_time(self, path: bytes, mtime: int) -> None:
        """Record a folder's time, which is set at the end, because creating files in it changes it."""
        if path not in self._times:
            self._names_kept += len(path)
            if self._names_kept > _NAMES_KEPT:
                raise BadArchive(f"the names of all folders of the archive are longer than {_NAMES_KEPT} bytes")
        self._times[path] = mtime

    def _set_time(self, path: bytes, mtime: int) -> None:
        with suppress(OSError):
            handle = open_in(self._root, path, os.O_RDONLY | os.O_DIRECTORY, links=False)
            try:
                layer_files.set_time(handle, mtime)
            finally:
                os.close(handle)
