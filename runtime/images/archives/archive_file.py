"""An archive of images on disk, whose members are found by name without being unpacked."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from netd.common.errors import BadRequest
from runtime.images.tarstream import BadArchive, Entry, TarStream, shown, split

_MOST_MEMBERS = 100_000
_MOST_LINKS = 8


class _Plain:
    """The archive as a source that passes over contents by seeking."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    @property
    def position(self) -> int:
        return self._file.tell()

    def read(self, size: int, /) -> bytes:
        return self._file.read(size)

    def skip(self, size: int, /) -> bool:
        return self._file.seek(size, io.SEEK_CUR) <= self._size


class Member(io.RawIOBase):
    """A member that is read by ``pread``, so that several threads may read one archive."""

    def __init__(self, handle: int, offset: int, size: int) -> None:
        self._handle = handle
        self._offset = offset
        self.size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        left = self.size - self._position
        data = os.pread(self._handle, left if size < 0 else min(size, left), self._offset + self._position)
        self._position += len(data)
        return data


class ArchiveFile:
    def __init__(self, file: BinaryIO) -> None:
        """*file* is an uncompressed tar archive.  Blocking.  Raises BadArchive."""
        self._file = file
        self._members: dict[bytes, tuple[int, int]] = {}
        self._links: dict[bytes, bytes] = {}
        source = _Plain(file)
        for entry in TarStream(source):
            self._add(entry, source.position)
            if len(self._members) + len(self._links) > _MOST_MEMBERS:
                raise BadArchive(f"the archive has more than {_MOST_MEMBERS} members, and is no archive of images")

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def open(self, name: str) -> Member:
        """Return a member for reading.  Raises BadArchive if the archive does not have it."""
        if (found := self._find(name)) is None:
            raise BadArchive(f"the archive has no {shown(os.fsencode(name))!r}, which one of its images needs")
        return Member(self._file.fileno(), *found)

    def document(self, name: str, limit: int) -> bytes:
        """Return the content of a member.  Raises BadArchive if it is missing or larger than *limit* bytes."""
        member = self.open(name)
        if member.size > limit:
            raise BadArchive(f"{shown(os.fsencode(name))!r} in the archive is larger than {limit} bytes")
        return member.read()

    def _add(self, entry: Entry, offset: int) -> None:
        name = b"/".join(entry.parts)
        if entry.kind == "file":
            self._members[name] = (offset, entry.size)
            self._links.pop(name, None)
        elif entry.kind in ("symlink", "hardlink"):
            # Docker's older archives link equal layers to one another.
            above = b"/".join(entry.parts[:-1]) if entry.kind == "symlink" else b""
            target = os.path.normpath(b"/" + above + b"/" + entry.link).strip(b"/")
            self._links[name] = target

    def _find(self, name: str) -> tuple[int, int] | None:
        try:
            key = b"/".join(split(name.encode()))
        except (BadRequest, UnicodeEncodeError):
            return None
        for _ in range(_MOST_LINKS):
            if key not in self._links:
                break
            key = self._links[key]
        return self._members.get(key)
