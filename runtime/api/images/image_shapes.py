"""Docker's JSON of images: rows of the list, inspect, history.  Pure but for the sizes, which are passed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from netd.common.errors import ServerError
from netd.common.ids import ZERO_TIME
from runtime.engine.views import image_filters
from runtime.images.image_config import ImageConfig, ImageRecord
from runtime.images.image_store import Images
from runtime.images.reference import Reference

_OMITTED_IF_EMPTY = ("ExposedPorts", "Healthcheck", "StopSignal", "Shell")


def row(image: ImageRecord, names: Sequence[Reference], containers: int, shared: int = -1) -> dict[str, Any]:
    """Return the row of ``GET /images/json`` with these of the image's names; *shared* is -1 if it was not computed."""
    config = image.document.config
    return {
        "Id": image.id,
        "ParentId": image.parent,
        "RepoTags": [name.short for name in names if not name.digest],
        "RepoDigests": [name.short for name in names if name.digest],
        "Created": int(image_filters.created(image)),
        "Size": image.size,
        "SharedSize": shared,
        "Labels": config.labels if config else None,
        "Containers": containers,
    }


def shared_size(image: ImageRecord, images: Sequence[ImageRecord], sizes: Mapping[str, int]) -> int:
    """Return the bytes of those layers of the image that other images have as well."""
    others = {chain for other in images if other.id != image.id for chain in other.layers}
    return sum(sizes.get(chain, 0) for chain in image.layers if chain in others)


def inspect(image: ImageRecord, images: Images, graph: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response to ``GET /images/{name}/json``; *graph* is its field ``GraphDriver``."""
    document = image.document
    shape: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": [name.short for name in images.names_of(image.id)],
        "RepoDigests": [name.short for name in images.digests_of(image.id)],
        "Parent": image.parent,
        "Comment": document.comment,
        "Created": document.created,
        "DockerVersion": document.docker_version,
        "Author": document.author,
        "Config": _config(document.config or ImageConfig()),
        "Architecture": document.architecture,
        "Variant": document.variant,
        "Os": document.os,
        "Size": image.size,
        "GraphDriver": graph,
        "RootFS": {"Type": "layers", "Layers": document.rootfs.diff_ids},
        "Metadata": {"LastTagTime": image.tagged or ZERO_TIME},
    }
    if not shape["Variant"]:
        del shape["Variant"]
    return shape


def _config(config: ImageConfig) -> dict[str, Any]:
    shape = {
        field: msgspec.to_builtins(getattr(config, name))
        for name, field in zip(ImageConfig.__struct_fields__, ImageConfig.__struct_encode_fields__, strict=True)
    }
    for name in _OMITTED_IF_EMPTY:
        if not shape[name]:
            del shape[name]
    return {**shape, "User": config.user or "", "WorkingDir": config.working_dir or ""}


def history(image: ImageRecord, images: Images, sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the response to ``GET /images/{name}/history``, latest first; *sizes* are those of the layers by chain id.

    Ids are known of the image and of its parents on this host.
    """
    chains = iter(image.layers)
    entries: list[dict[str, Any]] = []
    for entry in image.document.history or []:
        chain = "" if entry.empty_layer else next(chains, None)
        if chain is None:
            raise ServerError("the history of the image is invalid: it has more entries with layers than the image")
        entries.append(
            {
                "Id": "<missing>",
                "Created": int(image_filters.moment(entry.created)),
                "CreatedBy": entry.created_by,
                "Tags": None,
                "Size": sizes.get(chain, 0) if chain else 0,
                "Comment": entry.comment,
            }
        )
    entries.reverse()
    current: ImageRecord | None = image
    for shape in entries:
        if current is None:
            break
        shape.update(Id=current.id, Tags=[name.short for name in images.names_of(current.id)] or None)
        current = images.by_id(current.parent)
    return entries
