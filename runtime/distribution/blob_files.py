"""Compressed layers on their way: files in the scratch folder, shared by pulls that run at the same time.

A file of a pull that failed or was cancelled is kept for an hour, and the next pull continues it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from netd.common.errors import NoSpace
from runtime.registry.download import Blob, Progress, download
from runtime.registry.repository import Repository
from runtime.storage.deferred_delete import DeferredDelete

DOWNLOADS = 3
"""Downloads at the same time, of all pulls together; Docker's default."""
KEPT_SECONDS = 3600.0


@dataclass(slots=True)
class _File:
    path: Path
    users: int = 0
    complete: bool = False
    used_up: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class BlobFiles:
    def __init__(self, deferred_delete: DeferredDelete, kept_seconds: float = KEPT_SECONDS) -> None:
        self._deferred_delete = deferred_delete
        self._kept_seconds = kept_seconds
        self._files: dict[str, _File] = {}
        self._permits = asyncio.Semaphore(DOWNLOADS)

    @asynccontextmanager
    async def use(self, digest: str) -> AsyncIterator[BlobFile]:
        """Yield the file of a blob; it is deleted when it was used up and nobody uses it any more."""
        found = self._files.get(digest)
        if found is None:
            found = self._files[digest] = _File(self._deferred_delete.scratch_path("blob"))
        found.users += 1
        try:
            yield BlobFile(found, self._permits)
        except BaseException as error:
            # Kept files would keep a full disk full.
            found.used_up |= _is_full(error)
            raise
        finally:
            found.users -= 1
            if not found.users:
                self._release(digest, found)

    def _release(self, digest: str, file: _File) -> None:
        if file.used_up:
            del self._files[digest]
            self._deferred_delete.discard(file.path)
        else:
            asyncio.get_running_loop().call_later(self._kept_seconds, self._expire, digest, file)

    def _expire(self, digest: str, file: _File) -> None:
        if not file.users and self._files.get(digest) is file:
            del self._files[digest]
            self._deferred_delete.discard(file.path)


def _is_full(error: BaseException) -> bool:
    return isinstance(error, NoSpace) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


class BlobFile:
    """The file of one blob, for one pull."""

    def __init__(self, file: _File, permits: asyncio.Semaphore) -> None:
        self._file = file
        self._permits = permits

    @property
    def path(self) -> Path:
        return self._file.path

    async def fetch(self, repository: Repository, blob: Blob, progress: Progress) -> None:
        """Download the blob, unless another pull has done so.  Raises RegistryError."""
        async with self._file.lock:
            if self._file.complete:
                return
            if self._permits.locked():
                progress.queued()
            async with self._permits:
                await download(repository, blob, self.path, progress)
            self._file.complete = True

    def used_up(self) -> None:
        """The blob was unpacked: its file is not needed any more."""
        self._file.used_up = True
