"""Writes the body of a request to disk, for archives whose members are not read in order."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from netd.common.errors import BadRequest, NoSpace
from runtime.images.decompress import Inflated, is_compressed
from runtime.storage.deferred_delete import DeferredDelete

_BATCH = 1 << 20


class Spool:
    """An archive in a file that is deleted at the end of the block."""

    def __init__(self, deferred_delete: DeferredDelete, what: str) -> None:
        self._deferred_delete = deferred_delete
        self._path = deferred_delete.scratch_path(what)
        self._plain = deferred_delete.scratch_path(what)

    async def __aenter__(self) -> Spool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for path in (self._path, self._plain):
            await asyncio.shield(self._deferred_delete.delete(path))

    async def write(self, body: AsyncIterator[bytes]) -> None:
        """Write *body* to disk.  Raises NoSpace, and BadRequest if it is empty."""
        batch = bytearray()
        try:
            with await asyncio.to_thread(self._path.open, "xb", 0) as file:
                async for chunk in body:
                    batch += chunk
                    if len(batch) >= _BATCH:
                        await asyncio.to_thread(_write, file, bytes(batch))
                        batch.clear()
                await asyncio.to_thread(_write, file, bytes(batch))
                size = file.tell()
        except OSError as error:
            raise self._full(error) from error
        if not size:
            raise BadRequest("the archive is empty: send a tar archive as the body of the request")

    def open_plain(self) -> BinaryIO:
        """Open the archive, uncompressed; blocking.  Raises BadArchive, NoSpace."""
        file = self._path.open("rb")
        if not is_compressed(file.read(8)):
            file.seek(0)
            return file
        file.seek(0)
        try:
            with file, self._plain.open("xb") as plain:
                source = Inflated(file)
                while data := source.read(_BATCH):
                    plain.write(data)
        except OSError as error:
            raise self._full(error) from error
        self._deferred_delete.delete_now(self._path)
        return self._plain.open("rb")

    def _full(self, error: OSError) -> Exception:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return NoSpace(f"the disk of {Path(self._path).parent} is full: free some space and try again")
        return error


def _write(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
