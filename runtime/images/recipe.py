"""Tar recipes: what is needed beside a layer's folder to give back the exact archive that the folder was made from.

A recipe holds all bytes of the uncompressed archive except the content of regular files, for which it names the file
in the folder (as Docker's tar-split does), with a CRC-32 that identifies a damaged file.  Content that is not in the
folder, such as that of files which the archive replaces later, is in the recipe itself.

File format: a fixed header, then a zlib stream of records.  A record is the bytes before a file's content, then the
file: (length of the bytes, length of the path, size, CRC-32), bytes, path.  A record without a path has bytes only.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from netd.common.errors import ServerError
from runtime.images.tar_writer import CHUNK, Target, content
from runtime.images.tarstream import ByteSource
from runtime.kernel import openat

_MAGIC = b"netdtar1"
_HEADER = struct.Struct("<8s32sQQ")
"""Magic, SHA-256 of the archive, size of the archive, size of the layer's files."""
_RECORD = struct.Struct("<IHQI")
_LONGEST_RAW = 1 << 16
_LARGEST_RECORD = 1 << 22
LONGEST_PATH = 4095
_LEVEL = 3


class DamagedLayer(ServerError):
    """A layer on disk is not what it was when it was made."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a layer's archive was."""

    diff: str
    """Digest of the archive, with ``sha256:``."""
    tar_size: int
    """Bytes of the archive."""
    size: int
    """Bytes of the layer's files."""


class RecipeWriter:
    """Writes a recipe to *file*, which must be seekable."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._zlib = zlib.compressobj(_LEVEL)
        self._raw = bytearray()
        self._pending = bytearray()
        file.write(bytes(_HEADER.size))

    def raw(self, data: bytes) -> None:
        """Record bytes that are not in the layer's folder."""
        self._raw += data
        if len(self._raw) >= _LONGEST_RAW:
            self._record(b"", 0, 0)

    def reference(self, path: bytes, size: int, crc: int) -> None:
        """Record that the next *size* bytes are the content of the file *path* of the layer."""
        self._record(path, size, crc)

    def finish(self, summary: Summary) -> None:
        """Complete the file, and sync it to disk."""
        self._record(b"", 0, 0)
        self._file.write(self._zlib.compress(self._pending) + self._zlib.flush())
        self._file.seek(0)
        digest = bytes.fromhex(summary.diff.removeprefix("sha256:"))
        self._file.write(_HEADER.pack(_MAGIC, digest, summary.tar_size, summary.size))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _record(self, path: bytes, size: int, crc: int) -> None:
        self._pending += _RECORD.pack(len(self._raw), len(path), size, crc)
        self._pending += self._raw
        self._pending += path
        self._raw.clear()
        if len(self._pending) >= _LONGEST_RAW:
            self._file.write(self._zlib.compress(self._pending))
            self._pending.clear()


class RecordedSource:
    """Reads an archive from *source* and records it.

    :meth:`in_file` marks the bytes that are read within it as the content of a file.
    """

    def __init__(self, source: ByteSource, recipe: RecipeWriter) -> None:
        self._source = source
        self._recipe = recipe
        self._crc: int | None = None
        self.inodes = array("Q")
        """The inodes of the files referred to, in order."""

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        if self._crc is None:
            self._recipe.raw(data)
        else:
            self._crc = zlib.crc32(data, self._crc)
        return data

    def begin_file(self) -> None:
        """The bytes read from now on are a file's content."""
        self._crc = 0

    def end_file(self, path: bytes, handle: int) -> None:
        """The bytes read since :meth:`begin_file` were written to the open file *handle*, *path* in the layer."""
        assert self._crc is not None
        status = os.fstat(handle)
        self._recipe.reference(path, status.st_size, self._crc)
        self.inodes.append(status.st_ino)
        self._crc = None


class RecordingSink:
    """A sink of an archive that is made from the folder of a layer: its digest, its size and its recipe."""

    def __init__(self, recipe: RecipeWriter | None, copy: Target | None = None) -> None:
        """The archive is also written to *copy*."""
        self._recipe = recipe
        self._copy = copy
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        self._take(data)
        if self._recipe is not None:
            self._recipe.raw(data)

    def write_content(self, path: bytes, handle: int, size: int) -> None:
        crc = 0
        for chunk in content(handle, size):
            crc = zlib.crc32(chunk, crc)
            self._take(chunk)
        if self._recipe is not None:
            self._recipe.reference(path, size, crc)

    def _take(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        if self._copy is not None:
            self._copy.write(data)


@dataclass(frozen=True, slots=True)
class Piece:
    """A record: bytes, and then the content of the file *path*, if it is not empty."""

    raw: bytes
    path: bytes
    size: int
    crc: int


def summary(file: BinaryIO) -> Summary:
    """Read the header of a recipe.  Raises DamagedLayer."""
    data = file.read(_HEADER.size)
    if len(data) < _HEADER.size or data[: len(_MAGIC)] != _MAGIC:
        raise DamagedLayer("the tar recipe of a layer is damaged: import, load or pull the image again")
    _, digest, tar_size, size = _HEADER.unpack(data)
    return Summary(f"sha256:{digest.hex()}", tar_size, size)


def pieces(file: BinaryIO) -> Iterator[Piece]:
    """Yield the records of a recipe whose header has been read.  Raises DamagedLayer."""
    source = _Unzipped(file)
    while head := source.take(_RECORD.size):
        raw_size, path_size, size, crc = _RECORD.unpack(head)
        if path_size > LONGEST_PATH or raw_size > _LARGEST_RECORD:
            raise _unreadable()
        raw = source.take(raw_size)
        yield Piece(raw, source.take(path_size), size, crc)


def _unreadable() -> DamagedLayer:
    return DamagedLayer("the tar recipe of a layer is damaged: import, load or pull the image again")


class _Unzipped:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._zlib = zlib.decompressobj()
        self._data = bytearray()

    def take(self, size: int) -> bytes:
        """Return the next *size* bytes; b"" at the end.  Raises DamagedLayer if the stream ends within them."""
        while len(self._data) < size and not self._zlib.eof:
            packed = self._zlib.unconsumed_tail or self._file.read(1 << 14)
            if not packed:
                raise _unreadable()
            try:
                self._data += self._zlib.decompress(packed, max(size, CHUNK))
            except zlib.error:
                raise _unreadable() from None
        if len(self._data) < size and self._data:
            raise _unreadable()
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken


def archive(file: BinaryIO, root: int, shown: str) -> Iterator[bytes]:
    """Yield the archive of a layer: *file* is its recipe after the header, *root* its open folder.

    Raises DamagedLayer with the name of the file if a file is missing or changed; *shown* names the layer in it.
    """
    for piece in pieces(file):
        if piece.raw:
            yield piece.raw
        if piece.path:
            yield from _file_content(piece, root, shown)


def _file_content(piece: Piece, root: int, shown: str) -> Iterator[bytes]:
    crc = 0
    try:
        handle = _open(root, piece.path)
    except OSError as error:
        raise _damaged(piece, shown, error.strerror or "unreadable") from None
    try:
        if os.fstat(handle).st_size != piece.size:
            raise _damaged(piece, shown, "its size has changed")
        for chunk in content(handle, piece.size):
            crc = zlib.crc32(chunk, crc)
            yield chunk
    finally:
        os.close(handle)
    if crc != piece.crc:
        raise _damaged(piece, shown, "its content has changed")


def _open(root: int, path: bytes) -> int:
    above, _, name = path.rpartition(b"/")
    if not above:
        return openat.open_file(root, name)
    folder = openat.open_in(root, above, openat.PARENT, links=False)
    try:
        return openat.open_file(folder, name)
    finally:
        os.close(folder)


def _damaged(piece: Piece, shown: str, why: str) -> DamagedLayer:
    name = piece.path[:200].decode(errors="backslashreplace")
    return DamagedLayer(
        f"the file {name!r} of the layer {shown} is damaged ({why}): remove the image and import, load or pull it again"
    )


def with_content(old: BinaryIO, new: RecipeWriter, inodes: array[int], replaced: Callable[[int], int | None]) -> None:
    """Copy a recipe's records; the content of files that the archive replaced later becomes part of the recipe.

    *inodes* are those of the references, in order; *replaced* opens the removed file with an inode, None if none was.
    """
    position = 0
    for piece in pieces(old):
        new.raw(piece.raw)
        if not piece.path:
            continue
        handle = replaced(inodes[position])
        position += 1
        if handle is None:
            new.reference(piece.path, piece.size, piece.crc)
            continue
        try:
            for chunk in content(handle, piece.size):
                new.raw(chunk)
        finally:
            os.close(handle)
