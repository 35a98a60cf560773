"""One repository of a registry: manifests, tags and blobs (distribution specification, sections "Pull" and "Push").

Nothing is trusted: documents are bounded, and their digests are computed from the bytes that arrived.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from runtime.manifests import LARGEST_DOCUMENT, MANIFESTS
from runtime.registry import challenges
from runtime.registry.auth import Authenticator
from runtime.registry.connect_errors import plain
from runtime.registry.errors import RegistryError, WrongContent, of_response
from runtime.registry.transport import Request, Site, Transport, joined

T = TypeVar("T")
_LARGEST_ERROR = 1 << 16
_LARGEST_PAGE = 4 << 20
_MOST_PAGES, _MOST_TAGS = 200, 20_000
DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")

_ACCEPT = ", ".join(MANIFESTS)


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index, byte for byte."""

    data: bytes
    media_type: str
    digest: str


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


@dataclass(slots=True)
class Repository:
    """A repository at one server.  ``name`` is the path: ``library/nginx``."""

    transport: Transport
    site: Site
    auth: Authenticator
    name: str
    actions: str = "pull"
    mounts: Sequence[str] = ()
    """Other repositories that a request reads from, for mounts."""
    scope: str = ""
    """What a token is asked for, if not for the repository."""

    @property
    def scopes(self) -> list[str]:
        own = self.scope or f"repository:{self.name}:{self.actions}"
        return [own, *(f"repository:{other}:pull" for other in self.mounts)]

    # Reading

    async def head(self, reference: str) -> str:
        """Return the digest of the manifest named by a tag or digest; "" if the registry does not say."""
        request = Request("HEAD", self.url("manifests", reference), {"Accept": _ACCEPT})
        async with self.send(request) as response:
            digest = response.headers.get("Docker-Content-Digest", "") if response.status == 200 else ""
            return digest if DIGEST.match(digest) else ""

    async def manifest(self, reference: str, size: int | None = None) -> Document:
        """Return the manifest or index named by a tag or digest.

        Raises RegistryError, and WrongContent if it has not the digest or the *size* that was asked for.
        """
        request = Request("GET", self.url("manifests", reference), {"Accept": _ACCEPT})
        async with self.send(request) as response:
            data = await self.read(response, LARGEST_DOCUMENT)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        digest = digest_of(data)
        if DIGEST.match(reference) and digest != reference:
            raise WrongContent(f"manifest verification failed for digest {reference}: the registry sent {digest}")
        if size is not None and len(data) != size:
            raise WrongContent(f"the manifest {digest} has {len(data)} bytes and not {size}, as its index says")
        return Document(data, media_type, digest)

    async def tags(self) -> list[str]:
        """Return all tags.  Raises RegistryError, also for more than 20,000."""
        found: list[str] = []
        url: URL | None = self.url("tags", "list").with_query({"n": "1000"})
        for _ in range(_MOST_PAGES):
            if url is None:
                return list(dict.fromkeys(found))
            async with self.send(Request("GET", url)) as response:
                page = decoded(await self.read(response, _LARGEST_PAGE), _Tags, "the list of tags")
                url = next_page(url, response)
            found += page.tags or []
            if len(found) > _MOST_TAGS:
                break
        raise WrongContent(f"the repository {self.name} has more than {_MOST_TAGS} tags: name those to pull")

    async def small_blob(self, digest: str, size: int) -> bytes:
        """Return a blob of at most 4 MiB, such as a configuration, after checking its digest and size."""
        if not 0 <= size <= LARGEST_DOCUMENT:
            raise WrongContent(f"the blob {digest} has {size} bytes, and at most {LARGEST_DOCUMENT} are read")
        async with self.send(Request("GET", self.url("blobs", digest))) as response:
            data = await self.read(response, LARGEST_DOCUMENT)
        if len(data) != size or digest_of(data) != digest:
            raise WrongContent(f"the blob {digest} of {size} bytes arrived as {digest_of(data)} of {len(data)} bytes")
        return data

    # Requests

    def url(self, kind: str, reference: str) -> URL:
        path = f"/v2/{quote(self.name)}/{kind}/{quote(reference, safe=':/')}"
        return URL(f"{self.site.base.origin()}{path}", encoded=True)

    @asynccontextmanager
    async def send(self, request: Request, *, check: bool = True) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send with credentials, and once more after a challenge.  With *check*, raises RegistryError from 400 on."""
        own = request.url.origin() == self.site.base.origin()
        for attempt in range(2):
            authorization = await self._authorization(request) if own else ""
            async with self.transport.send(self.site, replace(request, authorization=authorization)) as response:
                if response.status == 401 and own and not attempt and self.auth.answers(response, self.scopes):
                    continue
                if check and response.status >= 400 and request.method != "HEAD":
                    raise await self.error(response)
                yield response
                return

    async def _authorization(self, request: Request) -> str:
        try:
            return await self.auth.header(self.scopes)
        except RegistryError as error:
            if self.actions != "pull":
                raise
            text = f'{request.method.capitalize()} "{plain(request.url)}": {error.message}'
            raise RegistryError(text, code=error.code, status=error.status) from None

    async def read(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        return await self.transport.read(response, most)

    async def error(self, response: aiohttp.ClientResponse) -> RegistryError:
        """Return the error of a response from 400 on."""
        try:
            data = await self.transport.read(response, _LARGEST_ERROR)
        except RegistryError:
            data = b""
        return of_response(response.status, challenges.parse(response.headers.getall("WWW-Authenticate", [])), data)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def decoded(data: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise WrongContent(f"{what} that the registry sent is invalid: {error}") from None


_NEXT = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?', re.IGNORECASE)


def next_page(url: URL, response: aiohttp.ClientResponse) -> URL | None:
    """Return the URL of the next page (RFC 8288), which must be at the same server."""
    links: Sequence[str] = response.headers.getall("Link", [])
    found = next((match[1] for link in links if (match := _NEXT.search(link))), None)
    if found is None:
        return None
    target = joined(url, found)
    return target if target.origin() == url.origin() else None
