"""Builds the image of a service through ``POST /build``, with the context of its compose file."""

from __future__ import annotations

import os

from netd.cli.errors import Fault
from netd.compose.create.engine_units import number_of_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from netd.cli.compose.acting.project_context import ActiveProject, ComposeContext
    from netd.compose.model import BuildSettings

    Json = dict[str, Any]

_UNSUPPORTED = ("ssh", "entitlements", "cache_to", "provenance", "sbom", "no_cache_filter", "privileged", "isolation")
_LARGEST_SECRETS = 4 << 10
"""Bytes of all secrets: they travel in a header of the request."""


def build_service(
    context: ComposeContext,
    active: ActiveProject,
    key: str,
    image: str,
    show: Callable[[str], None],
    *,
    no_cache: bool = False,
    pull: bool = False,
    arguments: dict[str, str | None] | None = None,
    memory: int = 0,
) -> None:
    """Build *image*, and call *show* with each line of the output.  Raises Fault with the code of a failed step."""
    service = active.project.services[key]
    build = service.build
    if build is None:
        raise Fault(f"the service {key} has no build section: add one to the compose file")
    for name in _UNSUPPORTED:
        if getattr(build, name):
            raise Fault(f"services.{key}.build.{name} is not supported: remove it from the compose file")
    content, dockerfile = _context(active, key, build)
    query = [
        *_query(build, no_cache=no_cache, pull=pull, arguments=arguments or {}, memory=memory),
        ("dockerfile", dockerfile),
        ("t", image),
        *(("t", tag) for tag in build.tags),
        ("platform", service.platform or (build.platforms[0] if build.platforms else "")),
    ]
    response = context.engine.upload("/build", query, content, headers=_headers(active, key, build))
    _follow(response.lines(), show)


def _context(active: ActiveProject, key: str, build: BuildSettings) -> tuple[Iterable[bytes], str]:
    from netd.cli.files.context_archive import ContextArchive

    if "://" in build.context or build.context.startswith("git@"):
        raise Fault(f"services.{key}.build.context: {build.context} is not supported: download it, and name the folder")
    stages, members = _additional_contexts(active, key, build)
    text: bytes | None = build.dockerfile_inline.encode() if build.dockerfile_inline else None
    path = os.path.join(build.context, build.dockerfile or "Dockerfile")
    if stages and text is None:
        text = _read(path)
    archive = ContextArchive(build.context, "" if text is not None else path, given=_with_stages(text, stages))
    return archive.chunks(members), archive.dockerfile


def _additional_contexts(active: ActiveProject, key: str, build: BuildSettings) -> tuple[list[str], dict[str, str]]:
    """Return stages for the Dockerfile, and folders for the archive by their names in it."""
    from netd.compose import project_names as names

    stages: list[str] = []
    members: dict[str, str] = {}
    for name, source in build.additional_contexts.items():
        if source.startswith("docker-image://"):
            stages.append(f"FROM {source.removeprefix('docker-image://')} AS {name}")
        elif source.startswith("service:"):
            other = source.removeprefix("service:")
            image = names.image_name(active.name, other, active.project.services[other])
            stages.append(f"FROM {image} AS {name}")
        elif "://" in source or not os.path.isdir(source):
            raise Fault(
                f"services.{key}.build.additional_contexts.{name}: {source} is not supported: use a folder, "
                "service:NAME or docker-image://NAME"
            )
        else:
            folder = f".additional-context-{len(members)}"
            members[folder] = source
            stages.append(f"FROM scratch AS {name}\nCOPY {folder} /")
    return stages, members


def _with_stages(text: bytes | None, stages: list[str]) -> bytes | None:
    """Return a Dockerfile with *stages* before its first stage, and so after the arguments that precede it."""
    if text is None or not stages:
        return text
    lines = text.splitlines()
    first = next((index for index, line in enumerate(lines) if line.strip()[:5].upper() == b"FROM "), len(lines))
    return b"\n".join([*lines[:first], *(stage.encode() for stage in stages), *lines[first:], b""])


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4 << 20)
    except OSError as error:
        raise Fault(f"cannot read {path}: {error.strerror}") from None


def _query(
    build: BuildSettings, *, no_cache: bool, pull: bool, arguments: dict[str, str | None], memory: int
) -> list[tuple[str, str]]:
    from json import dumps

    given = {**build.args, **arguments}
    values = {name: os.environ.get(name) if value is None else value for name, value in given.items()}
    labels = {"com.docker.compose.image.builder": "classic", **build.labels}
    query = [("version", "1"), ("target", build.target), ("networkmode", build.network)]
    query += [("extrahosts", word.replace("=", ":", 1)) for word in build.extra_hosts]
    query += [("nocache", "1" if no_cache or build.no_cache else ""), ("pull", "1" if pull or build.pull else "")]
    query += [("shmsize", str(number_of_bytes(build.shm_size) or "")), ("memory", str(memory or ""))]
    for key, value in (("buildargs", values), ("labels", labels), ("cachefrom", build.cache_from)):
        query.append((key, dumps(value) if value else ""))
    if build.ulimits:
        query.append(("ulimits", dumps([_ulimit(name, value) for name, value in sorted(build.ulimits.items())])))
    return query


def _ulimit(name: str, value: Any) -> Json:
    soft, hard = (value, value) if isinstance(value, int) else (value.soft, value.hard)
    return {"Name": name, "Soft": soft, "Hard": hard}


def _headers(active: ActiveProject, key: str, build: BuildSettings) -> Iterable[tuple[str, str]]:
    from base64 import b64encode, urlsafe_b64encode
    from json import dumps

    from netd.cli.transport.docker_config import DockerConfig

    if credentials := DockerConfig().all():
        yield "X-Registry-Config", urlsafe_b64encode(dumps(credentials).encode()).decode()
    secrets = dict(_secret(active, key, reference.source, reference.target) for reference in build.secrets)
    if sum(map(len, secrets.values())) > _LARGEST_SECRETS:
        raise Fault(f"the secrets are larger than {_LARGEST_SECRETS >> 10} KiB together: use fewer or smaller ones")
    if secrets:
        encoded = {name: b64encode(value).decode() for name, value in secrets.items()}
        yield "X-Netd-Build-Secrets", urlsafe_b64encode(dumps(encoded).encode()).decode()


def _secret(active: ActiveProject, key: str, source: str, target: str) -> tuple[str, bytes]:
    wanted = active.project.secrets.get(source)
    if wanted is None or wanted.external:
        raise Fault(
            f"services.{key}.build.secrets: {source} is not a secret of the compose file with a content: add it"
        )
    name = target.rpartition("/")[2] or source
    if wanted.file:
        return name, _read(wanted.file)[: _LARGEST_SECRETS + 1]
    if wanted.environment not in active.environment:
        raise Fault(f'environment variable "{wanted.environment}" required by secret "{source}" is not set')
    return name, active.environment[wanted.environment].encode("utf-8", "surrogateescape")


def _follow(lines: Iterable[bytes], show: Callable[[str], None]) -> None:
    from json import loads

    text = ""
    for line in lines:
        message: Json = loads(line)
        if error := message.get("error"):
            code = (message.get("errorDetail") or {}).get("code") or 1
            raise Fault(str(error), code if 0 < code < 256 else 1)
        *whole, text = (text + (message.get("stream") or "")).split("\n")
        for entry in whole:
            if entry.strip():
                show(entry)
