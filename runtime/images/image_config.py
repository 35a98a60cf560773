"""Docker's image configuration document, and the records of images and tags.  Pure."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import msgspec

from runtime.container_config import Empty, Healthcheck, StrSlice


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


class RootFS(msgspec.Struct, frozen=True):
    type: str = "layers"
    diff_ids: list[str] = []


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    created: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The configuration document, whose SHA-256 is the image's id."""

    architecture: str
    os: str
    created: str = ""
    author: str = ""
    comment: str = ""
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

    @property
    def document(self) -> ImageDocument:
        return _document(self.text)


@lru_cache(maxsize=256)
def _document(text: str) -> ImageDocument:
    return msgspec.json.decode(text, type=ImageDocument)


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
