"""ADD of URLs: a bounded download to a file, with its digest."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp

from netd.common.errors import BadRequest, Problem
from runtime.build.dockerfile.faults import shortened
from runtime.build.execute.build_request import StepFailed

LARGEST = 8 << 30
"""Bytes of a download."""
_STALLED_SECONDS, _CONNECT_SECONDS = 60.0, 30.0
_MOST_REDIRECTS = 10
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}\Z")
_GIT = re.compile(r"(?:git@|git://|ssh://|github\.com/)|https?://[^#]*\.git(?:#.*)?\Z")


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def is_git(text: str) -> bool:
    return bool(_GIT.match(text))


@dataclass(frozen=True, slots=True)
class Download:
    """A downloaded file: its path, the name that its URL gives it (may be empty), and its SHA-256."""

    path: Path
    name: str
    digest: str

    @classmethod
    async def get(cls, url: str, path: Path, checksum: str) -> Download:
        """Download *url* to *path*.  Raises a Problem if that fails, or if the checksum is another one."""
        if checksum and not _CHECKSUM.match(checksum):
            raise BadRequest(f"invalid checksum {shortened(checksum)}: use sha256: and 64 hexadecimal digits")
        try:
            digest = await _fetch(url, path)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise StepFailed(f'ADD failed: Get "{shortened(url)}": {shortened(reason)}', status=500) from None
        if checksum and checksum != f"sha256:{digest}":
            raise StepFailed(
                f"ADD failed: digest mismatch for {shortened(url)}: sha256:{digest}, expected {checksum}", status=500
            )
        return cls(path, posixpath.basename(unquote(urlsplit(url).path)), digest)


async def _fetch(url: str, path: Path) -> str:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_STALLED_SECONDS)
    digest = hashlib.sha256()
    size = 0
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as client:
        async with client.get(url, max_redirects=_MOST_REDIRECTS, headers={"Accept-Encoding": "identity"}) as response:
            if response.status >= 400:
                raise _refused(url, response.status)
            with await asyncio.to_thread(path.open, "xb") as file:
                async for chunk in response.content.iter_chunked(1 << 18):
                    size += len(chunk)
                    if size > LARGEST:
                        raise BadRequest(f"ADD failed: {shortened(url)} is larger than {LARGEST >> 30} GiB")
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
    return digest.hexdigest()


def _refused(url: str, status: int) -> Problem:
    return StepFailed(f"ADD failed: failed to GET {shortened(url)} with status {status}", status=500)
