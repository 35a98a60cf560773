"""The documents of archives of images: which images an archive holds, their names, and the members of their layers.

Pure.  Forms: ``manifest.json`` (Docker since 1.10), ``index.json`` (OCI layout), ``repositories`` (Docker before 1.10).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from netd.common.errors import NotFound
from runtime import manifests, platforms
from runtime.images import reference
from runtime.images.reference import Reference
from runtime.images.tarstream import BadArchive
from runtime.manifests import Descriptor, Index
from runtime.platforms import Platform

T = TypeVar("T")

Read = Callable[[str], bytes]
"""Returns the content of a member of limited size.  Raises BadArchive."""
_IMAGE_NAME = "io.containerd.image.name"
_REFERENCE_NAME = "org.opencontainers.image.ref.name"
_ATTESTATION = "vnd.docker.reference.type"
_MOST_IMAGES = 1000
_DEEPEST_INDEX = 4
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})\Z")
_LEGACY_ID = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class ArchivedLayer:
    member: str
    digest: str = ""
    """What the SHA-256 of the member has to be; "" if the archive does not say."""


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    config: bytes
    names: list[Reference]
    layers: list[ArchivedLayer]
    without_diffs: bool = False
    """Whether the configuration lacks the diff ids of the layers."""


# manifest.json


class _ManifestEntry(msgspec.Struct, rename="pascal"):
    config: str
    repo_tags: list[str] | None = None
    layers: list[str] | None = None


def from_manifest(data: bytes, read: Read) -> list[ArchivedImage]:
    """Return the images of an archive with the ``manifest.json`` *data*.  Raises BadArchive."""
    entries = _decoded(data, list[_ManifestEntry], "manifest.json")
    if len(entries) > _MOST_IMAGES:
        raise BadArchive(f"the archive has more than {_MOST_IMAGES} images")
    images = []
    for entry in entries:
        names = [_tag(text) for text in entry.repo_tags or ()]
        layers = [ArchivedLayer(member, _digest_of(member)) for member in entry.layers or ()]
        images.append(ArchivedImage(_checked(read(entry.config), _digest_of(entry.config)), names, layers))
    return images


def _tag(text: str) -> Reference:
    name = reference.parse(text)
    if not name.tag:
        raise BadArchive(f'invalid tag "{text[:200]}" in the archive')
    return name


def _digest_of(member: str) -> str:
    found = _BLOB.match(member)
    return f"sha256:{found[1]}" if found else ""


def _checked(data: bytes, digest: str) -> bytes:
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if digest and found != digest:
        raise BadArchive(f"the archive is damaged: its document {digest} has the digest {found}")
    return data


# OCI layout


def from_index(data: bytes, read: Read, wanted: Platform) -> list[ArchivedImage]:
    """Return the images of an OCI layout with the ``index.json`` *data*: of each name the image for *wanted*.

    Raises BadArchive, BadRequest, or NotFound if a name has no image for that platform.
    """
    index = manifests.parse(data, manifests.OCI_INDEX)
    if not isinstance(index, Index):
        raise BadArchive("index.json of the archive is no index")
    images: dict[str, ArchivedImage] = {}
    for name, descriptors in _by_name(index).items():
        chosen = _choose(Index(manifests=descriptors), wanted, name, read)
        if (image := images.get(chosen.digest)) is None:
            image = images[chosen.digest] = _image(chosen, read)
        if name:
            image.names.append(reference.parse(name))
    return list(images.values())


def _by_name(index: Index) -> dict[str, list[Descriptor]]:
    """Group the entries by image name; entries without a name are separate, unless their platforms differ."""
    groups: dict[str, list[Descriptor]] = {}
    for descriptor in index.manifests:
        notes = descriptor.annotations or {}
        if _ATTESTATION in notes:
            continue
        name = notes.get(_IMAGE_NAME) or notes.get(_REFERENCE_NAME, "")
        # A bare tag, as written by other tools, names no repository.
        groups.setdefault(name if "/" in name or ":" in name else "", []).append(descriptor)
    return groups


def _choose(index: Index, wanted: Platform, name: str, read: Read) -> Descriptor:
    """Return the manifest for *wanted*, from nested indexes too."""
    for _ in range(_DEEPEST_INDEX):
        images = [d for d in index.manifests if _ATTESTATION not in (d.annotations or {})]
        found = [manifests.platform_of(descriptor) for descriptor in images]
        position = platforms.best(found, wanted)
        if position is None and len(images) == 1 and found[0] is None:
            position = 0
        if position is None:
            offered = ", ".join(str(platform) for platform in found if platform) or "none that is named"
            raise NotFound(
                f"no matching manifest for {wanted} in the archive{f' for {name}' if name else ''}: it has images for"
                f" {offered}"
            )
        chosen = images[position]
        document = manifests.parse(_blob(chosen, read), chosen.media_type)
        if not isinstance(document, Index):
            return chosen
        index = document
    raise BadArchive(f"indexes in the archive are nested deeper than {_DEEPEST_INDEX}")


def _image(descriptor: Descriptor, read: Read) -> ArchivedImage:
    manifest = manifests.parse(_blob(descriptor, read), descriptor.media_type)
    assert not isinstance(manifest, Index)
    layers = [ArchivedLayer(_path(layer.digest), layer.digest) for layer in manifest.layers]
    return ArchivedImage(_blob(manifest.config, read), [], layers)


def _blob(descriptor: Descriptor, read: Read) -> bytes:
    return _checked(read(_path(descriptor.digest)), descriptor.digest)


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


# repositories


def from_repositories(data: bytes, read: Read) -> list[ArchivedImage]:
    """Return the images of an archive without ``manifest.json`` and with the ``repositories`` *data*.

    Each layer is a folder with ``json`` and ``layer.tar``; the configuration is made of the former, without diff ids
    (:func:`with_diffs`).
    """
    repositories = _decoded(data, dict[str, dict[str, str]], "repositories")
    found: dict[str, list[Reference]] = {}
    for repository, tags in repositories.items():
        for tag, top in tags.items():
            found.setdefault(top, []).append(_tag(f"{repository}:{tag}"))
    if len(found) > _MOST_IMAGES:
        raise BadArchive(f"the archive has more than {_MOST_IMAGES} images")
    return [_legacy(top, names, read) for top, names in found.items()]


def _legacy(top: str, names: list[Reference], read: Read) -> ArchivedImage:
    chain: list[tuple[str, dict[str, Any]]] = []
    identifier = top
    while identifier:
        if not _LEGACY_ID.match(identifier) or len(chain) >= manifests.MOST_LAYERS:
            raise BadArchive("the archive has a layer with an invalid id, or too many layers")
        document = _decoded(read(f"{identifier}/json"), dict[str, Any], f"{identifier}/json")
        chain.append((identifier, document))
        identifier = str(document.get("parent") or "")
    chain.reverse()
    config = {key: value for key, value in chain[-1][1].items() if key not in ("id", "parent", "Size", "throwaway")}
    config["history"] = [_history(document) for _, document in chain]
    config["rootfs"] = {"type": "layers", "diff_ids": []}
    layers = [ArchivedLayer(f"{identifier}/layer.tar") for identifier, _ in chain]
    return ArchivedImage(msgspec.json.encode(config), names, layers, without_diffs=True)


def _history(document: dict[str, Any]) -> dict[str, Any]:
    made = document.get("container_config")
    command = made.get("Cmd") if isinstance(made, dict) else None
    entry = {
        "created": document.get("created"),
        "author": document.get("author"),
        "created_by": " ".join(map(str, command)) if isinstance(command, list) else "",
        "comment": document.get("comment"),
    }
    return {key: value for key, value in entry.items() if value}


def with_diffs(config: bytes, diffs: list[str]) -> bytes:
    """Return a configuration made by :func:`from_repositories` with its diff ids."""
    document = msgspec.json.decode(config, type=dict[str, Any])
    return msgspec.json.encode({**document, "rootfs": {"type": "layers", "diff_ids": diffs}})


def _decoded(data: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadArchive(f"{what} of the archive is invalid: {error}") from None
