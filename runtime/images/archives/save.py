"""``GET /images/get``: writes images as one archive that is an OCI layout and Docker's ``manifest.json`` at once.

The layers in it are the exact uncompressed archives that they were made from, so their digests are the diff ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from netd.common.errors import NotFound
from runtime import manifests
from runtime.images import compatibility, reference
from runtime.images.image_config import ImageRecord
from runtime.images.image_store import Images
from runtime.images.layers import Layers
from runtime.images.reference import Reference
from runtime.images.tar_writer import END, Header
from runtime.images.tarstream import BLOCK
from runtime.platforms import Platform

_BLOBS = "blobs/sha256/"


@dataclass(slots=True)
class _Saved:
    """An image and the names under which it is saved."""

    image: ImageRecord
    names: list[Reference] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SavedBlob:
    """A member of the archive: *content*, or the layer with this chain id."""

    digest: str
    size: int
    content: bytes = b""
    chain: str = ""


@dataclass(frozen=True, slots=True)
class SavedArchive:
    """What the archive will contain; made before the first byte is sent."""

    images: list[ImageRecord]
    blobs: list[SavedBlob]
    documents: dict[str, bytes]


class Saver:
    def __init__(self, images: Images, layers: Layers) -> None:
        self._images = images
        self._layers = layers

    def select(self, names: Sequence[str], platform: Platform | None = None) -> list[_Saved]:
        """Return the images with these names or ids; a repository without a tag stands for all its tags.

        Raises NotFound, also if an image is not for *platform*.
        """
        found: dict[str, _Saved] = {}
        for text in names:
            for image, name in self._named(text):
                if platform is not None:
                    compatibility.check(compatibility.platform_of(image), text, platform)
                saved = found.setdefault(image.id, _Saved(image))
                if name is not None and name not in saved.names:
                    saved.names.append(name)
        return list(found.values())

    @contextmanager
    def lease(self, saved: Sequence[_Saved]) -> Iterator[None]:
        """Keep the layers of the images on disk within the block."""
        with self._images.lease() as lease:
            for item in saved:
                for chain in item.image.layers:
                    lease.add(chain)
            yield

    def _named(self, text: str) -> list[tuple[ImageRecord, Reference | None]]:
        prefix = reference.id_prefix(text)
        if not prefix or self._images.by_id(f"sha256:{prefix}") is None:
            name = reference.parse(text)
            if not (name.tag or name.digest) and (tags := self._images.tags_of(name.repository)):
                return [(self._images.find(tag.full), tag) for tag in tags]
            if not name.digest and (found := self._images.image_of(name)) and (image := self._images.by_id(found)):
                return [(image, name)]
        return [(self._images.find(text), None)]

    def prepare(self, saved: Sequence[_Saved]) -> SavedArchive:
        """Compute all documents; blocking.  Raises DamagedLayer for a layer that cannot be written."""
        blobs: dict[str, SavedBlob] = {}
        index: list[dict[str, object]] = []
        entries: list[dict[str, object]] = []
        repositories: dict[str, dict[str, str]] = {}
        for item in saved:
            config, layers = self._blobs_of(item.image)
            manifest = _blob(msgspec.json.encode(_manifest(config, layers)))
            blobs |= {blob.digest: blob for blob in (config, manifest, *layers)}
            index += _descriptors(manifest, item.names)
            entries.append(
                {
                    "Config": _member(config.digest),
                    "RepoTags": [name.short for name in item.names] or None,
                    "Layers": [_member(layer.digest) for layer in layers],
                }
            )
            for name in item.names:
                if layers:
                    tags = repositories.setdefault(name.short_repository, {})
                    tags[name.tag or "latest"] = layers[-1].digest.removeprefix("sha256:")
        documents: dict[str, object] = {
            "index.json": {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": index},
            "manifest.json": entries,
            "oci-layout": {"imageLayoutVersion": "1.0.0"},
        }
        if repositories:
            documents["repositories"] = repositories
        encoded = {name: msgspec.json.encode(document) for name, document in documents.items()}
        ordered = sorted(blobs.values(), key=lambda blob: blob.digest)
        return SavedArchive([item.image for item in saved], ordered, encoded)

    def write(self, archive: SavedArchive) -> Iterator[bytes]:
        """Yield the archive; blocking.  Raises DamagedLayer."""
        for folder in ("blobs", "blobs/sha256"):
            yield Header(path=folder.encode(), kind="directory", mode=0o755).encode()
        for blob in archive.blobs:
            content = self._layers.archive(blob.chain, blob.digest) if blob.chain else iter((blob.content,))
            yield from _file(_member(blob.digest), blob.size, content)
        for name, data in archive.documents.items():
            yield from _file(name, len(data), iter((data,)))
        yield END

    def _blobs_of(self, image: ImageRecord) -> tuple[SavedBlob, list[SavedBlob]]:
        layers = []
        for chain, diff in zip(image.layers, image.document.rootfs.diff_ids, strict=True):
            layers.append(SavedBlob(diff, self._layers.summary(chain, diff).tar_size, chain=chain))
        return _blob(image.text.encode()), layers


def _blob(content: bytes) -> SavedBlob:
    return SavedBlob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), content)


def _member(digest: str) -> str:
    return _BLOBS + digest.removeprefix("sha256:")


def _manifest(config: SavedBlob, layers: Sequence[SavedBlob]) -> dict[str, object]:
    return {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_MANIFEST,
        "config": {"mediaType": manifests.OCI_CONFIG, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": manifests.OCI_LAYER, "digest": layer.digest, "size": layer.size} for layer in layers],
    }


def _descriptors(manifest: SavedBlob, names: Sequence[Reference]) -> list[dict[str, object]]:
    plain: dict[str, object] = {
        "mediaType": manifests.OCI_MANIFEST, "digest": manifest.digest, "size": manifest.size,
    }  # fmt: skip
    return [
        {
            **plain,
            "annotations": {
                "io.containerd.image.name": name.full,
                "org.opencontainers.image.ref.name": name.tag or "latest",
            },
        }
        for name in names
    ] or [plain]


def _file(name: str, size: int, content: Iterator[bytes]) -> Iterator[bytes]:
    yield Header(path=name.encode(), kind="file", size=size).encode()
    written = 0
    for data in content:
        written += len(data)
        yield data
    if written != size:
        raise NotFound(f"{name} has {written} bytes instead of {size}: try again")
    yield bytes(-size % BLOCK)
