"""Docker's image configuration document, and the records of images and tags.  Pure."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any

import msgspec

from netd.common.errors import BadRequest
from runtime.container_config import Empty, Healthcheck, StrSlice

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Defaults for containers created from an image."""

    user: str | None = None
    exposed_ports: dict[str, Empty | None] | None = None
    env: list[str] | None = None
    entrypoint: StrSlice = None
    cmd: StrSlice = None
    volumes: dict[str, Empty | None] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    healthcheck: Healthcheck | None = None
    shell: list[str] | None = None
    on_build: list[str] | None = None


class RootFS(msgspec.Struct, frozen=True):
    type: str = "layers"
    diff_ids: list[str] = []


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The configuration document, whose SHA-256 is the image's id."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str = ""
    author: str = ""
    comment: str = ""
    docker_version: str = ""
    config: ImageConfig | None = None
    rootfs: RootFS = msgspec.field(default_factory=RootFS)
    history: list[History] | None = None


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record of an image.  ``text`` is the document byte for byte, because the id is its checksum."""

    id: str
    text: str
    layers: list[str]
    """Chain ids, bottom first."""
    size: int
    """Bytes of all layers."""
    tagged: str = ""
    """When it was last tagged; RFC 3339."""
    parent: str = ""
    """The id of the image that it was built or committed from, if that was on this host."""

    @property
    def document(self) -> ImageDocument:
        return _document(self.text)


@lru_cache(maxsize=256)
def _document(text: str) -> ImageDocument:
    return parse_document(text)


def parse_document(text: str | bytes) -> ImageDocument:
    """Parse a configuration document; null counts as absent, as in Docker.  Raises BadRequest if it is invalid."""
    try:
        raw = _without_nulls(msgspec.json.decode(text, type=dict[str, Any]))
        if isinstance(raw.get("rootfs"), dict):
            raw["rootfs"] = _without_nulls(raw["rootfs"])
        if isinstance(raw.get("history"), list):
            raw["history"] = [_without_nulls(entry) for entry in raw["history"] if isinstance(entry, dict)]
        document = msgspec.convert(raw, ImageDocument)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise BadRequest(f"the configuration of the image is invalid: {error}") from None
    if any(not _DIGEST.match(diff) for diff in document.rootfs.diff_ids):
        raise BadRequest("the configuration of the image is invalid: a diff id is not a SHA-256 digest")
    return document


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}


class TagRecord(msgspec.Struct, frozen=True):
    image: str


def image_id(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def chain_ids(diff_ids: list[str]) -> list[str]:
    """Return the chain ids of the layers, bottom first: each identifies a layer together with all layers below it."""
    chains: list[str] = []
    for diff in diff_ids:
        chains.append(diff if not chains else f"sha256:{hashlib.sha256(f'{chains[-1]} {diff}'.encode()).hexdigest()}")
    return chains
