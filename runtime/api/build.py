"""Routes of builds: Docker's classic builder, its cache, and the cancellation of a build."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from netd.common import codec, resource_errors
from netd.common.errors import BadRequest, NotImplementedYet, Problem
from netd.common.http.deletion_stream import Deleted, respond
from netd.common.http.web import Call, HttpRoute, empty, stream
from runtime.api.long_requests import LongRequests
from runtime.build.execute.build_request import BuildRequest, StepFailed
from runtime.build.execute.builder import Builder, PreparedBuild
from runtime.build.execute.prune_selection import PruneSelection
from runtime.container_config import HostConfig, Ulimit
from runtime.engine.views import listing
from runtime.images import reference
from runtime.images.reference import Reference
from runtime.registry import auth_config

T = TypeVar("T")

_log = logging.getLogger(__name__)

SECRETS_HEADER = "X-Netd-Build-Secrets"
"""Secrets of ``netctl build``: base64url of a JSON object of base64 texts by id; Docker's API has no call for them."""
CACHE_KEYS = frozenset({"all", "id", "until", "unused-for", "type", "inuse", "description", "private", "shared"})
_LONGEST_PARAMETER = 1 << 20


class BuildRoutes:
    def __init__(self, builder: Builder, long_requests: LongRequests) -> None:
        self._builder = builder
        self._long_requests = long_requests

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("POST", "/build", self.build),
            HttpRoute("POST", "/build/prune", self.prune),
            HttpRoute("POST", "/build/cancel", self.cancel),
        ]

    async def build(self, call: Call) -> web.StreamResponse:
        request = _request(call)
        with self._long_requests.session(call), self._builder.cancellable(call.text("buildid")):
            prepared = await self._builder.prepare(request, call.archive())
            try:
                return await _run(call, prepared)
            finally:
                await prepared.close()

    async def prune(self, call: Call) -> web.StreamResponse:
        filters = call.filters(CACHE_KEYS)
        if call.text("min-free-space"):
            raise NotImplementedYet("min-free-space is not supported by netd-runtime: use reserved-space")
        texts = [*filters.get("until"), *filters.get("unused-for")]
        selection = PruneSelection(
            filters,
            unused_since=min(map(listing.parse_until, texts), default=""),
            every=call.flag("all") or bool(filters.flag("all")),
            kept=max(call.number(name, 0) for name in ("keep-storage", "reserved-space", "max-used-space")),
        )

        async def work(deleted: Deleted) -> dict[str, Any]:
            dropped, freed = await self._builder.prune(selection)
            for step in dropped:
                await deleted(step.key)
            return {"CachesDeleted": [step.key for step in dropped] or None, "SpaceReclaimed": freed}

        return await respond(call, work)

    async def cancel(self, call: Call) -> web.StreamResponse:
        if not (identifier := call.text("id")):
            raise BadRequest("build ID not provided")
        self._builder.cancel(identifier)
        return empty(200)


async def _run(call: Call, prepared: PreparedBuild) -> web.StreamResponse:
    response = await stream(call, {"Content-Type": "application/json"})

    async def send(message: Mapping[str, object]) -> None:
        await response.write(codec.encode(message) + b"\r\n")

    try:
        await prepared.run(send)
    except StepFailed as failure:
        if failure.place and not prepared.session.request.quiet:
            await send({"stream": f"{failure.place} failed\n"})
        await send(_error(failure.message, failure.code))
    except Problem as problem:
        await send(_error(problem.message))
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:
        known = resource_errors.problem(error, "the build failed")
        if known is None:
            _log.error("build failed: request=%s", call.request.path, exc_info=error)
        await send(_error(known.message if known else "the build failed; the daemon's log has the cause"))
    await response.write_eof()
    return response


def _error(message: str, code: int = 0) -> dict[str, object]:
    detail: dict[str, object] = {"code": code} if code else {}
    return {"errorDetail": {**detail, "message": message}, "error": message}


# The request


def _request(call: Call) -> BuildRequest:
    _refuse(call)
    return BuildRequest(
        dockerfile=call.text("dockerfile") or "Dockerfile",
        tags=tuple(map(_tag, filter(None, call.texts("t")))),
        target=call.text("target"),
        arguments=_decoded(call, "buildargs", dict[str, str | None]) or {},
        labels=_decoded(call, "labels", dict[str, str]) or {},
        cache_from=tuple(_decoded(call, "cachefrom", list[str]) or ()),
        use_cache=not call.flag("nocache"),
        pull=call.flag("pull"),
        quiet=call.flag("q"),
        host=_host(call),
        secrets=_secrets(call),
        credentials=auth_config.by_host(call.request.headers.get("X-Registry-Config", "")),
        platform=call.text("platform"),
    )


def _refuse(call: Call) -> None:
    """Raise a Problem for what this builder does not do."""
    if call.text("version") == "2" or call.text("session"):
        raise NotImplementedYet("builds by BuildKit are not part of netd-runtime: set DOCKER_BUILDKIT=0")
    if remote := call.text("remote"):
        raise NotImplementedYet(
            f"a build context from {remote[:200]!r} is not fetched by netd-runtime: send the files as the body"
        )
    if call.flag("squash"):
        raise NotImplementedYet("--squash is not supported by netd-runtime: join RUN instructions, or use stages")
    if call.text("outputs") not in ("", "[]", "null"):
        raise NotImplementedYet("--output needs BuildKit: build an image, and use docker cp or netctl save")
    if call.text("securityopt") not in ("", "[]", "null"):
        raise NotImplementedYet("--security-opt of builds is not supported: steps have the confinement of containers")
    if call.text("isolation") not in ("", "default"):
        raise BadRequest(f"the isolation {call.text('isolation')!r} needs a Windows host: leave the option out")
    if not call.request.can_read_body:
        raise BadRequest("the request has no build context: send it as the body")


def _tag(text: str) -> Reference:
    try:
        found = reference.parse(text)
    except Problem as problem:
        raise BadRequest(f'invalid argument "{text[:200]}" for a tag: {problem.message}') from None
    if found.digest:
        raise BadRequest("refusing to create a tag with a digest reference")
    return found


def _host(call: Call) -> HostConfig:
    number = call.number
    return HostConfig(
        network_mode=call.text("networkmode") or "default",
        extra_hosts=[text for text in call.texts("extrahosts") if text] or None,
        memory=number("memory", 0),
        memory_swap=number("memswap", 0),
        cpu_shares=number("cpushares", 0),
        cpu_period=number("cpuperiod", 0),
        cpu_quota=number("cpuquota", 0),
        cpuset_cpus=call.text("cpusetcpus"),
        cpuset_mems=call.text("cpusetmems"),
        shm_size=number("shmsize", 0),
        cgroup_parent=call.text("cgroupparent"),
        ulimits=_decoded(call, "ulimits", list[Ulimit]),
    )


def _decoded(call: Call, key: str, kind: type[T]) -> T | None:
    text = call.text(key)
    if text in ("", "null"):
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadRequest(f"the query parameter {key} is not the JSON that is expected: {error}") from None


def _header(call: Call, name: str, kind: type[T]) -> T | None:
    """Decode a header of base64url JSON; None if it is missing.  Raises BadRequest."""
    text = call.request.headers.get(name, "")
    if not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (binascii.Error, msgspec.DecodeError, ValueError, RecursionError):
        raise BadRequest(f"the header {name} is not base64url of the JSON that is expected") from None


def _secrets(call: Call) -> dict[str, bytes]:
    return _header(call, SECRETS_HEADER, dict[str, bytes]) or {}
