"""Uploads blobs and manifests (distribution specification, section "Push").

A blob whose digest is known beforehand is sent by one ``PUT``; others are sent as a stream by ``PATCH``, and named by
their digest at the end.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import aiohttp
from yarl import URL

from runtime.registry import connect_errors
from runtime.registry.download import Blob, Progress
from runtime.registry.errors import BrokenTransfer, RegistryError, Unreachable
from runtime.registry.repository import DIGEST, Repository
from runtime.registry.transport import OVERLOADED, Request, joined

_log = logging.getLogger(__name__)
_OCTETS = {"Content-Type": "application/octet-stream"}
Source = Callable[[], AsyncIterator[bytes]]
"""Yields the bytes of a blob, from its start at each call."""


async def has_blob(repository: Repository, digest: str) -> int | None:
    """Return the size of a blob that the repository has; None if it has not."""
    request = Request("HEAD", repository.url("blobs", digest))
    async with repository.send(request) as response:
        if response.status == 200:
            return response.content_length or 0
        if response.status in (401, 403, *OVERLOADED):
            raise await repository.error(response)
        return None


async def mount(repository: Repository, digest: str, source: str) -> bool:
    """Mount a blob of the repository named *source* of the same registry; return False if that is not possible."""
    url = _uploads(repository).with_query({"mount": digest, "from": source})
    repository = replace(repository, mounts=(source,))
    try:
        async with repository.send(Request("POST", url, retry=False)) as response:
            if response.status == 201:
                return True
            location = _location(response)
    except RegistryError as error:
        _log.info("blob not mounted: blob=%s from=%s error=%s", digest, source, error.message)
        return False
    await _cancel(repository, location)
    return False


async def put_blob(repository: Repository, data: bytes, digest: str) -> None:
    """Upload *data* at once."""
    location = await _begin(repository)
    request = Request("PUT", _with_digest(location, digest), _OCTETS, data, retry=False)
    async with repository.send(request) as response:
        await _require(repository, response, 201)


async def stream_blob(repository: Repository, source: Source, progress: Progress, total: int = 0) -> Blob:
    """Upload the bytes of *source*, and return their digest and size; repeated from the start after interruptions.

    *total* is for the progress only.
    """
    limits = repository.transport.limits
    pause = limits.first_pause
    for left in range(limits.attempts - 1, -1, -1):
        try:
            return await _stream(repository, source, progress, total)
        except (BrokenTransfer, Unreachable) as error:
            _log.info("upload interrupted: repository=%s left=%d error=%s", repository.name, left, error.message)
            if not left:
                raise
        progress.waiting(pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, limits.longest_pause)
    raise AssertionError("unreachable")


async def put_manifest(repository: Repository, reference: str, media_type: str, data: bytes) -> None:
    request = Request("PUT", repository.url("manifests", reference), {"Content-Type": media_type}, data)
    async with repository.send(request) as response:
        await _require(repository, response, 201)


@dataclass(slots=True)
class _Sender:
    """Counts and hashes what is sent, and postpones the deadline with every piece."""

    source: Source
    progress: Progress
    total: int
    stall: float
    deadline: asyncio.Timeout
    size: int = 0
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    failure: Exception | None = None
    """What the source raised; aiohttp reports it as a failed connection."""

    async def pieces(self) -> AsyncIterator[bytes]:
        self.size, self.hash = 0, hashlib.sha256()
        try:
            async for piece in self.source():
                self.hash.update(piece)
                self.size += len(piece)
                yield piece
                self.deadline.reschedule(asyncio.get_running_loop().time() + self.stall)
                self.progress.moved(self.size, self.total)
        except Exception as error:
            self.failure = error
            raise


async def _stream(repository: Repository, source: Source, progress: Progress, total: int) -> Blob:
    location = await _begin(repository)
    stall = repository.transport.limits.stall
    sender: _Sender | None = None
    try:
        async with asyncio.timeout(stall) as deadline:
            sender = _Sender(source, progress, total, stall, deadline)
            request = Request("PATCH", location, _OCTETS, sender.pieces, retry=False, is_transfer=True)
            async with repository.send(request, check=False) as response:
                await _require(repository, response, 202, 204)
                location = _location(response)
    except BaseException as error:
        await _cancel(repository, location)
        if isinstance(error, RegistryError) and sender is not None and sender.failure is not None:
            raise sender.failure from None
        if isinstance(error, TimeoutError):
            raise BrokenTransfer(f"the registry takes no data: no progress for {stall:g} seconds") from None
        raise
    blob = Blob(f"sha256:{sender.hash.hexdigest()}", sender.size)
    request = Request("PUT", _with_digest(location, blob.digest), {"Content-Length": "0"}, retry=False)
    async with repository.send(request, check=False) as response:
        await _require(repository, response, 201)
    return blob


async def _begin(repository: Repository) -> URL:
    async with repository.send(Request("POST", _uploads(repository), {"Content-Length": "0"})) as response:
        await _require(repository, response, 202)
        return _location(response)


async def _cancel(repository: Repository, location: URL) -> None:
    """End an upload that is not used; a registry that refuses deletes it by itself later."""
    try:
        async with asyncio.timeout(5), repository.send(Request("DELETE", location, retry=False), check=False):
            return
    except (RegistryError, TimeoutError) as error:
        _log.debug("upload not cancelled: repository=%s error=%s", repository.name, error)


async def _require(repository: Repository, response: aiohttp.ClientResponse, *statuses: int) -> None:
    if response.status in statuses:
        return
    if response.status in OVERLOADED:
        raise BrokenTransfer((await repository.error(response)).message)
    if response.status >= 400:
        raise await repository.error(response)
    raise RegistryError(
        f"{response.method} {connect_errors.plain(response.url)}: the registry answered {response.status}"
        f" and not {statuses[0]}"
    )


def _uploads(repository: Repository) -> URL:
    return repository.url("blobs", "uploads/")


def _location(response: aiohttp.ClientResponse) -> URL:
    location = response.headers.get("Location", "")
    if not location:
        raise RegistryError("the registry started an upload without a Location for its data")
    return joined(response.url, location)


def _with_digest(location: URL, digest: str) -> URL:
    assert DIGEST.match(digest)
    query = "&".join(filter(None, (location.raw_query_string, f"digest={digest.replace(':', '%3A')}")))
    return URL(f"{location.with_query(None).with_fragment(None)}?{query}", encoded=True)
