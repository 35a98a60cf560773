"""Archives that ADD unpacks."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from netd.common.errors import BadRequest
from runtime.build.dockerfile.faults import shortened
from runtime.build.files.plain_archive import PlainArchive
from runtime.images.decompress import Inflated
from runtime.images.tarstream import TarStream
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
    stream = PlainArchive(Inflated(file), owner)
    unpack(stream, folder, private_root=False)
    stream.drain()
