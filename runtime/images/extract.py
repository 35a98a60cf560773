"""Extracts an archive into the files of a container, as ``PUT /containers/{id}/archive`` does.

Differences to the unpacking of a layer (:mod:`runtime.images.unpack`): the target has files, and mounts, of which
everything is kept that the archive does not replace; names of whiteouts are ordinary names; an entry of the root itself
is ignored.
"""

from __future__ import annotations

import dataclasses
import os
import stat

import msgspec

from netd.common.errors import BadRequest
from runtime.images import layer_files
from runtime.images.replaced import Replaced
from runtime.images.tarstream import Entry, TarStream
from runtime.images.unpack import Unpacker
from runtime.kernel import openat


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOptions:
    path: str
    """The path of the target in the container, for messages."""
    owner: tuple[int, int] | None = None
    """(user, group) of all files; None for those in the archive."""
    first_id: int = 0
    """The id, in the file system of the target, of user and group 0 of the archive."""
    keep_kinds: bool = False
    """Refuse to replace a directory by another file, or another file by a directory."""


def extract(stream: TarStream, root: int, options: ExtractOptions) -> None:
    """Write every entry of *stream* below the folder *root*.

    Raises BadArchive for entries that are not allowed, BadRequest for those that *options* exclude, OSError.
    """
    _Extractor(stream, root, options).run()


class _Extractor(Unpacker):
    def __init__(self, stream: TarStream, root: int, options: ExtractOptions) -> None:
        super().__init__(stream, root, (), True, None, Replaced(None))
        self._options = options

    def _make(self, entry: Entry) -> None:
        if not entry.parts:
            return
        folder, name = self._folder(entry.parts[:-1]), entry.parts[-1]
        if self._options.keep_kinds:
            self._check_kind(entry, openat.lstat(folder, name))
        self._makers[entry.kind](self._owned(entry), folder, name)

    def _owned(self, entry: Entry) -> Entry:
        uid, gid = self._options.owner or (entry.uid, entry.gid)
        first = self._options.first_id
        if (uid + first, gid + first) == (entry.uid, entry.gid):
            return entry
        return msgspec.structs.replace(entry, uid=uid + first, gid=gid + first)

    def _check_kind(self, entry: Entry, was: os.stat_result | None) -> None:
        if was is None or stat.S_ISDIR(was.st_mode) == (entry.kind == "directory"):
            return
        before, after = ("non-directory", "directory") if entry.kind == "directory" else ("directory", "non-directory")
        raise BadRequest(f'cannot overwrite {before} "{entry.shown}" with {after} "{self._options.path}"')

    def _directory(self, entry: Entry, folder: int, name: bytes) -> None:
        was = openat.lstat(folder, name)
        if was is None or not stat.S_ISDIR(was.st_mode):
            self._remove(folder, name, was)
            os.mkdir(name, 0o700, dir_fd=folder)
        handle = openat.open_folder(folder, name, mounts=True)
        try:
            layer_files.set_metadata(entry, handle)
        finally:
            os.close(handle)
        self._record_time(b"/".join(entry.parts), entry.mtime)
