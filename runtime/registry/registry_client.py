"""Entry point of the registry client: opens repositories, logs in, searches."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from yarl import URL

from netd.common.config import Settings
from runtime.registry.access_policy import HUB, HUB_HOST, AccessPolicy
from runtime.registry.auth import Authenticator
from runtime.registry.auth_config import ANONYMOUS, Credentials
from runtime.registry.connect_errors import plain
from runtime.registry.errors import RegistryError, of_response
from runtime.registry.repository import Repository, decoded, next_page
from runtime.registry.tls import TrustStore
from runtime.registry.transport import Request, Site, Transport

_log = logging.getLogger(__name__)
_LARGEST_PAGE = 4 << 20
_MOST_PAGES = 100
_HUB_SEARCH = "index.docker.io"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A result of a search."""

    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class _Catalogue(msgspec.Struct):
    repositories: list[str] | None = None


class _HubResult(msgspec.Struct):
    name: str = ""
    description: str | None = None
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class _HubResults(msgspec.Struct):
    results: list[_HubResult] = []


class RegistryClient:
    """Uses one Transport for all operations; each operation authenticates by itself."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @classmethod
    def from_settings(cls, settings: Settings) -> RegistryClient:
        """Raises BadRequest for invalid settings."""
        trust = TrustStore([Path(folder) for folder in settings.registry_certs])
        return cls(Transport(AccessPolicy.from_settings(settings), trust))

    def shape(self) -> dict[str, Any]:
        """Return the configuration as the field ``RegistryConfig`` of Docker's ``/info``."""
        policy = self._transport.policy
        mirrors = [f"{mirror}/" for mirror in policy.mirrors]
        hub = {"Name": HUB, "Mirrors": mirrors, "Secure": True, "Official": True}
        others = {
            host: {"Name": host, "Mirrors": [], "Secure": False, "Official": False} for host in sorted(policy.insecure)
        }
        networks = [str(network) for network in policy.networks]
        return {"InsecureRegistryCIDRs": networks, "IndexConfigs": {HUB: hub, **others}, "Mirrors": mirrors}

    async def close(self) -> None:
        await self._transport.close()

    async def repositories(
        self, domain: str, path: str, credentials: Credentials = ANONYMOUS, *, push: bool = False
    ) -> AsyncIterator[Repository]:
        """Yield the repository at each server to try: first the mirrors (not for a push), last the registry itself.

        Mirrors that do not answer are logged and passed over.  Raises RegistryError if the registry does not answer.
        """
        if domain == HUB and not push:
            for mirror in self._transport.policy.mirrors:
                try:
                    site = (await self._transport.sites("", mirror=mirror))[0]
                    # A mirror is another party: it gets no credentials of the registry.
                    yield await self._open(site, path, ANONYMOUS, "pull")
                except RegistryError as error:
                    _log.warning("mirror not used: mirror=%s error=%s", mirror, error.message)
        yield await self.repository(domain, path, credentials, push=push)

    async def repository(
        self, domain: str, path: str, credentials: Credentials = ANONYMOUS, *, push: bool = False
    ) -> Repository:
        """Return the repository at the registry itself.  Raises RegistryError if no server of it answers."""
        failed: RegistryError | None = None
        for site in await self._transport.sites(HUB_HOST if domain == HUB else domain):
            try:
                return await self._open(site, path, credentials, "pull,push" if push else "pull")
            except RegistryError as error:
                failed = error
        assert failed is not None
        raise failed

    async def login(self, domain: str, credentials: Credentials) -> str:
        """Check credentials; return the identity token to use instead of the password, "" if there is none.

        Raises RegistryError if they are refused.
        """
        repository = await self.repository(domain, "", credentials)
        auth = repository.auth
        auth.is_login = True
        url = _ping_url(repository.site)
        for attempt in range(2):
            try:
                request = Request("GET", url, authorization=await auth.header(()))
            except RegistryError as error:
                raise RegistryError(f'Get "{url}": {error.message}', code=error.code, status=error.status) from None
            async with self._transport.send(repository.site, request) as response:
                if response.status == 200:
                    return auth.identity_token
                if response.status == 401 and not attempt and auth.answers(response, ()):
                    continue
                status = f"{response.status} {response.reason or ''}".strip()
                raise RegistryError(f"login attempt to {plain(url)} failed with status: {status}")
        raise AssertionError("unreachable")

    async def search(
        self, domain: str, term: str, limit: int, credentials: Credentials = ANONYMOUS
    ) -> list[SearchResult]:
        """Return repositories whose name contains *term*, from the registry's catalogue.

        Raises RegistryError if the registry has no catalogue.
        """
        if domain == HUB:
            return await self._search_hub(term, limit)
        repository = await self.repository(domain, "", credentials)
        repository.scope = "registry:catalog:*"
        found: list[SearchResult] = []
        url: URL | None = URL(f"{repository.site.base.origin()}/v2/_catalog").with_query({"n": "1000"})
        for _ in range(_MOST_PAGES):
            if url is None or len(found) >= limit:
                break
            async with repository.send(Request("GET", url), check=False) as response:
                if response.status in (404, 405):
                    raise RegistryError(
                        f"the registry {domain} has no catalogue to search: name the image to pull", status=404
                    )
                if response.status >= 400:
                    raise await repository.error(response)
                page = decoded(await repository.read(response, _LARGEST_PAGE), _Catalogue, "the catalogue")
                url = next_page(url, response)
            found += [SearchResult(name[:255]) for name in page.repositories or [] if term.lower() in name.lower()]
        return found[:limit]

    async def _search_hub(self, term: str, limit: int) -> list[SearchResult]:
        site = (await self._transport.sites(_HUB_SEARCH))[0]
        url = (site.base / "v1" / "search").with_query({"q": term, "n": str(limit)})
        async with self._transport.send(site, Request("GET", url)) as response:
            data = await self._transport.read(response, _LARGEST_PAGE)
            if response.status != 200:
                raise RegistryError(f"Unexpected status code {response.status}")
        return [
            SearchResult(
                result.name, result.description or "", result.star_count, result.is_official, result.is_automated
            )
            for result in decoded(data, _HubResults, "the list of images").results[:limit]
        ]

    async def _open(self, site: Site, path: str, credentials: Credentials, actions: str) -> Repository:
        auth = Authenticator(self._transport, site, credentials)
        # TLS is only tried if plain HTTP is permitted too, and not repeated.
        is_tried = site.insecure and site.base.scheme == "https"
        async with self._transport.send(site, Request("GET", _ping_url(site), retry=not is_tried)) as response:
            if response.status >= 500:
                raise of_response(response.status, [], b"")
            auth.note(response)
        return Repository(self._transport, site, auth, path, actions)


def _ping_url(site: Site) -> URL:
    return URL(f"{site.base.origin()}/v2/", encoded=True)
