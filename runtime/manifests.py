"""Manifests and indexes of images: OCI image specification 1.1, and their Docker twins (schema 2).  Pure.

Their content is untrusted: numbers and digests are checked here, the sizes of documents by the callers.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec

from netd.common.errors import BadRequest
from runtime.platforms import Platform

T = TypeVar("T")

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFESTS = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
"""The types of documents that are understood, as sent in ``Accept``."""
LARGEST_DOCUMENT = 4 << 20
"""Bytes; the specification asks registries to accept at least this size."""
MOST_LAYERS = 125
"""Docker's limit."""
_MOST_ENTRIES = 1000
_CONFIGS = (OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", "text/html", "")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


class _Platform(msgspec.Struct):
    architecture: str = ""
    os: str = ""
    variant: str | None = None


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename={"media_type": "mediaType"}):
    """What a document says of another one, or of a blob."""

    media_type: str
    size: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    digest: str
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if not _DIGEST.match(self.digest):
            raise ValueError(f"the digest {self.digest[:80]!r} is not a SHA-256 digest")


class Manifest(msgspec.Struct, frozen=True, rename={"schema_version": "schemaVersion", "media_type": "mediaType"}):
    """An image: its configuration, and its layers, bottom first."""

    schema_version: int
    config: Descriptor
    layers: list[Descriptor]
    media_type: str = ""


class Index(msgspec.Struct, frozen=True, rename={"schema_version": "schemaVersion", "media_type": "mediaType"}):
    """Manifests of an image for several platforms, or of several images."""

    manifests: list[Descriptor]
    schema_version: int = 2
    media_type: str = ""


class _Kind(msgspec.Struct, rename={"schema_version": "schemaVersion", "media_type": "mediaType"}):
    schema_version: int = 0
    media_type: str | None = None
    manifests: object = None
    layers: object = None
    config: object = None


def parse(data: bytes, media_type: str = "") -> Manifest | Index:
    """Parse a document; *media_type* is what its sender calls it.  Raises BadRequest."""
    kind = _decoded(data, _Kind)
    if kind.schema_version == 1:
        raise BadRequest(
            "the manifest has schema 1, which was replaced in 2017 and is not supported: push the image again with a"
            " current client"
        )
    named = kind.media_type or media_type
    is_index, is_manifest = kind.manifests is not None, kind.layers is not None or kind.config is not None
    if is_index and is_manifest:
        raise BadRequest("the manifest is ambiguous: it is an index and a manifest")
    if named in (OCI_INDEX, DOCKER_LIST) or is_index:
        index = _decoded(data, Index)
        if len(index.manifests) > _MOST_ENTRIES:
            raise BadRequest(f"the index has {len(index.manifests)} entries, and at most {_MOST_ENTRIES} are read")
        return index
    if named not in MANIFESTS and not is_manifest:
        raise BadRequest(f"unsupported manifest media type {named[:120]!r}: it is no image")
    return _checked(_decoded(data, Manifest))


def platform_of(descriptor: Descriptor) -> Platform | None:
    """Return the platform of an entry of an index; None if it has none, or is no image (an attestation)."""
    found = descriptor.platform
    if found is None or not found.os or found.os == "unknown":
        return None
    return Platform(found.os, found.architecture, found.variant or "")


def _checked(manifest: Manifest) -> Manifest:
    if manifest.config.media_type not in _CONFIGS:
        raise BadRequest(f'encountered remote "{manifest.config.media_type[:120]}"(unknown) when fetching')
    if len(manifest.layers) > MOST_LAYERS:
        raise BadRequest(f"max depth exceeded: the image has {len(manifest.layers)} layers, at most {MOST_LAYERS} work")
    return manifest


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"the manifest is invalid: {error}") from None
