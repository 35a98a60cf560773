"""Archives that ADD unpacks."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from netd.common.errors import BadRequest
from runtime.build.dockerfile.faults import shortened
from runtime.images.decompress import Inflated
from runtime.images.tarstream import Entry, TarStream
from runtime.images.unpack import unpack
from runtime.kernel import openat

Opened = AbstractContextManager[BinaryIO]


@contextmanager
def open_own(path: Path) -> Iterator[BinaryIO]:
    """Open a file that only the daemon can change."""
    with path.open("rb") as file:
        yield file


@contextmanager
def open_in_tree(root: int, path: str) -> Iterator[BinaryIO]:
    """Open a regular file of a tree, links resolved within it.  Raises BadRequest for other files."""
    probe = openat.open_in(root, os.fsencode(path), os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(probe).st_mode):
            raise BadRequest(f"{shortened(path)} is not a regular file")
    finally:
        os.close(probe)
    handle = openat.open_in(root, os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        yield file


@contextmanager
def in_memory(content: bytes) -> Iterator[BinaryIO]:
    yield io.BytesIO(content)


def is_archive(file: BinaryIO) -> bool:
    """Return whether a file is a tar archive, compressed or not."""
    try:
        return next(iter(TarStream(Inflated(file))), None) is not None
    except (BadRequest, OSError):
        return False


def unpack_into(file: BinaryIO, folder: int, owner: tuple[int, int] | None) -> None:
    """Unpack an archive into the open folder; with *owner*, all files belong to it.

    Raises BadArchive for entries that are not allowed in a layer.
    """
    stream = _Owned(Inflated(file), owner) if owner else TarStream(Inflated(file))
    unpack(stream, folder, private_root=False)
    stream.drain()


class _Owned(TarStream):
    """An archive whose entries all have one owner."""

    def __init__(self, source: Inflated, owner: tuple[int, int]) -> None:
        super().__init__(source)
        self._owner = owner

    def __iter__(self) -> Iterator[Entry]:
        for entry in super().__iter__():
            yield msgspec.structs.replace(entry, uid=self._owner[0], gid=self._owner[1])
