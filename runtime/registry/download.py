"""Downloads a blob into a file, resumes after interruptions, and checks length and digest.

A file that an earlier attempt has left is continued by a ``Range`` request; it becomes valid only after the digest of
all its bytes was checked.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import aiohttp

from netd.common.digits import unsigned
from runtime.registry import connect_errors
from runtime.registry.errors import BrokenTransfer, RegistryError, Unreachable, WrongContent
from runtime.registry.repository import Repository
from runtime.registry.transport import OVERLOADED, Request, TransferLimits

_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(?:\d{1,19}|\*)\Z", re.ASCII)
_POOL = ThreadPoolExecutor(4, thread_name_prefix="download")
"""A pool of its own, because reading and hashing a file of an earlier attempt takes long."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Blob:
    digest: str
    size: int


@dataclass(slots=True)
class Progress:
    """Callbacks of a transfer, called in the event loop."""

    moved: Callable[[int, int], None] = lambda current, total: None
    """Bytes so far, and in total."""
    waiting: Callable[[float], None] = lambda seconds: None
    """The transfer is repeated after so many seconds."""
    verifying: Callable[[], None] = lambda: None
    queued: Callable[[], None] = lambda: None
    """Other transfers come first."""


@dataclass(slots=True)
class _Part:
    """The file, the bytes in it, and their hash."""

    file: BinaryIO
    size: int = 0
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def load(self) -> None:
        """Read what an earlier attempt has left; blocking."""
        while data := self.file.read(_CHUNK):
            self.hash.update(data)
            self.size += len(data)

    def add(self, data: bytes) -> None:
        self.file.write(data)
        self.hash.update(data)
        self.size += len(data)

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.size, self.hash = 0, hashlib.sha256()


async def download(repository: Repository, blob: Blob, path: Path, progress: Progress) -> None:
    """Write the blob to *path*, continuing the file if it exists.

    Raises RegistryError; WrongContent, after deleting the file, if the bytes are not those of the blob.
    """
    loop = asyncio.get_running_loop()
    file = await asyncio.to_thread(_open, path)
    try:
        part = _Part(file)
        await loop.run_in_executor(_POOL, part.load)
        if part.size > blob.size:
            part.restart()
        await _fetch_all(repository, blob, part, progress)
        progress.verifying()
        await asyncio.to_thread(file.flush)
        digest = f"sha256:{part.hash.hexdigest()}"
        if digest != blob.digest:
            raise WrongContent(f"filesystem layer verification failed for digest {blob.digest}: the bytes are {digest}")
    except WrongContent:
        path.unlink(missing_ok=True)
        raise
    finally:
        await asyncio.to_thread(file.close)


async def _fetch_all(repository: Repository, blob: Blob, part: _Part, progress: Progress) -> None:
    limits = repository.transport.limits
    attempts, pause = limits.attempts, limits.first_pause
    while part.size < blob.size:
        before = part.size
        try:
            await _fetch(repository, blob, part, progress)
        except (BrokenTransfer, Unreachable) as error:
            if part.size > before:
                attempts, pause = limits.attempts, limits.first_pause
            attempts -= 1
            _log.info("download interrupted: blob=%s bytes=%d error=%s", blob.digest, part.size, error.message)
            if attempts <= 0:
                raise
            progress.waiting(pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, limits.longest_pause)
    if not blob.size:
        part.restart()


async def _fetch(repository: Repository, blob: Blob, part: _Part, progress: Progress) -> None:
    headers = {"Range": f"bytes={part.size}-"} if part.size else {}
    request = Request("GET", repository.url("blobs", blob.digest), headers, is_transfer=True)
    async with repository.send(request, check=False) as response:
        await _check_head(repository, response, blob, part)
        loop = asyncio.get_running_loop()
        watch = _Watch(repository.transport.limits)
        async for data in _chunks(response):
            if part.size + len(data) > blob.size:
                raise WrongContent(f"the blob {blob.digest} is longer than the {blob.size} bytes of its manifest")
            await loop.run_in_executor(_POOL, part.add, data)
            progress.moved(part.size, blob.size)
            watch.moved(len(data))
    if part.size < blob.size:
        raise BrokenTransfer(f"unexpected EOF: {part.size} of {blob.size} bytes of the blob {blob.digest} arrived")


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for data in response.content.iter_chunked(_CHUNK):
            yield data
    except connect_errors.NETWORK_ERRORS as error:
        raise BrokenTransfer(connect_errors.translated("GET", response.url, error).message) from None


async def _check_head(repository: Repository, response: aiohttp.ClientResponse, blob: Blob, part: _Part) -> None:
    if response.status in OVERLOADED:
        raise BrokenTransfer((await repository.error(response)).message)
    if response.status == 416:
        part.restart()
        raise BrokenTransfer(f"the registry cannot continue the blob {blob.digest}: it is read from its start")
    if response.status >= 400:
        raise await repository.error(response)
    if response.status == 206:
        begin = _RANGE.match(response.headers.get("Content-Range", ""))
        if begin is None or unsigned(begin[1]) != part.size:
            raise WrongContent(f"the registry sent another range of the blob {blob.digest} than it was asked for")
    elif response.status == 200:
        part.restart()
    else:
        raise RegistryError(f"received unexpected HTTP status: {response.status} for the blob {blob.digest}")
    length = response.content_length
    if length is not None and length != blob.size - part.size:
        raise WrongContent(
            f"the blob {blob.digest} has {length + part.size} bytes and not {blob.size}, as its manifest says"
        )


class _Watch:
    """Raises BrokenTransfer if less than the least rate arrived in a period of ``stall`` seconds."""

    def __init__(self, limits: TransferLimits) -> None:
        self._limits = limits
        self._since, self._bytes = time.monotonic(), 0

    def moved(self, size: int) -> None:
        self._bytes += size
        elapsed = time.monotonic() - self._since
        if elapsed < self._limits.stall:
            return
        if self._bytes < elapsed * self._limits.least_rate:
            raise BrokenTransfer(f"the registry sends too slowly: {self._bytes} bytes in {elapsed:.0f} seconds")
        self._since, self._bytes = time.monotonic(), 0


def _open(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+b")
