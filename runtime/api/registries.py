"""Routes that use registries: pull, push, ``/auth``, ``/distribution`` and search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from netd.common.errors import BadRequest
from netd.common.events import Bus, event
from netd.common.http.web import Call, HttpRoute, json
from runtime import manifests, platforms
from runtime.api import progress_stream
from runtime.api.long_requests import LongRequests
from runtime.distribution.pull import Puller
from runtime.distribution.push import Pusher
from runtime.images import compatibility, reference
from runtime.images.image_config import parse_document
from runtime.images.reference import Reference
from runtime.manifests import Index
from runtime.progress import Report
from runtime.registry import auth_config
from runtime.registry.auth_config import Credentials
from runtime.registry.registry_client import RegistryClient

_MOST_RESULTS = 100
_FEWEST_RESULTS = 25
SEARCH_KEYS = frozenset({"is-automated", "is-official", "stars"})


class _AuthBody(msgspec.Struct):
    """Docker's AuthConfig as the body of ``/auth``."""

    username: str = ""
    password: str = ""
    auth: str = ""
    email: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class RegistryRoutes:
    def __init__(
        self, registries: RegistryClient, puller: Puller, pusher: Pusher, *, bus: Bus, long_requests: LongRequests
    ) -> None:
        self._registries = registries
        self._puller = puller
        self._pusher = pusher
        self._bus = bus
        self._long_requests = long_requests

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("POST", "/images/{name:path}/push", self.push),
            HttpRoute("POST", "/auth", self.auth),
            HttpRoute("GET", "/distribution/{name:path}/json", self.distribution),
            HttpRoute("GET", "/images/search", self.search),
        ]

    async def pull(self, call: Call) -> web.StreamResponse:
        """Handle ``POST /images/create`` with ``fromImage``: without tag and digest, all tags are pulled."""
        name = reference.with_tag(call.text("fromImage"), call.text("tag"))
        platform = compatibility.requested(call.text("platform"))
        credentials = _credentials(call)

        async def job(report: Report) -> None:
            if name.tag or name.digest:
                await self._puller.pull(name, credentials, platform, report)
            else:
                await self._puller.pull_all(name, credentials, platform, report)
            self._publish_event("pull", name)

        return await progress_stream.run(call, self._long_requests, job)

    async def push(self, call: Call) -> web.StreamResponse:
        name = reference.with_tag(call.params["name"], call.text("tag"))
        platform = compatibility.requested(call.text("platform"))
        credentials = _credentials(call)

        async def job(report: Report) -> None:
            await self._pusher.push(name, credentials, report, platform)
            self._publish_event("push", name)

        return await progress_stream.run(call, self._long_requests, job)

    async def auth(self, call: Call) -> web.StreamResponse:
        body = await call.body(_AuthBody)
        fields = {name: getattr(body, name) for name in Credentials.__struct_fields__}
        host = auth_config.server_host(body.serveraddress)
        token = await self._registries.login(host, auth_config.normalized(Credentials(**fields)))
        return json({"IdentityToken": token, "Status": "Login Succeeded"})

    async def distribution(self, call: Call) -> web.StreamResponse:
        """Answer with digest, size and platforms of an image at its registry."""
        name = reference.parse(call.params["name"])
        repository = await self._registries.repository(name.domain, name.path, _credentials(call))
        top = await repository.manifest(name.digest or name.tag or "latest")
        found = manifests.parse(top.data, top.media_type)
        offered: list[dict[str, Any]] = []
        if isinstance(found, Index):
            offered = [_shape(platform) for entry in found.manifests if (platform := manifests.platform_of(entry))]
        else:
            config = parse_document(await repository.small_blob(found.config.digest, found.config.size))
            offered = [_shape(platforms.Platform(config.os, config.architecture, config.variant))]
        descriptor = {"mediaType": top.media_type, "digest": top.digest, "size": len(top.data)}
        return json({"Descriptor": descriptor, "Platforms": offered})

    async def search(self, call: Call) -> web.StreamResponse:
        term = call.text("term").strip()
        limit = call.number("limit", _FEWEST_RESULTS) or _FEWEST_RESULTS
        if not 1 <= limit <= _MOST_RESULTS:
            raise BadRequest(f"limit {limit} is outside the range of [1, {_MOST_RESULTS}]")
        filters = call.filters(SEARCH_KEYS)
        host, slash, rest = term.partition("/")
        if slash and ("." in host or ":" in host or host == "localhost"):
            domain, term = auth_config.server_host(host), rest
        else:
            domain = "docker.io"
        found = await self._registries.search(domain, term, limit, _credentials(call))
        stars = max((int(text) for text in filters.get("stars") if text.isascii() and text.isdigit()), default=0)
        official = filters.flag("is-official")
        automated = filters.flag("is-automated")
        return json(
            [
                {
                    "name": result.name if domain == "docker.io" else f"{domain}/{result.name}",
                    "description": result.description,
                    "star_count": result.star_count,
                    "is_official": result.is_official,
                    "is_automated": result.is_automated,
                }
                for result in found
                if result.star_count >= stars
                and official in (None, result.is_official)
                and automated in (None, result.is_automated)
            ]
        )

    def _publish_event(self, action: str, name: Reference) -> None:
        shown = name.short if name.tag or name.digest else name.short_repository
        self._bus.publish(event("image", action, shown, {"name": name.short_repository}))


def _credentials(call: Call) -> Credentials:
    return auth_config.from_header(call.request.headers.get("X-Registry-Auth", ""))


def _shape(platform: platforms.Platform) -> dict[str, Any]:
    shape = {"architecture": platform.architecture, "os": platform.os}
    return shape | ({"variant": platform.variant} if platform.variant else {})
