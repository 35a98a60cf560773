"""Differences of responses between versions of Docker's API.  Pure.

Source: the version history of the Engine API, up to 1.56; Docker Engine 28.5.2 for what older versions get.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netd.common.http.web import Version

SEVERAL_ENDPOINTS_SINCE = (1, 44)
VIRTUAL_SIZE_UNTIL = (1, 44)
CONTAINER_CONFIG_UNTIL = (1, 45)
ANNOTATIONS_SINCE = (1, 46)
FIREWALL_BACKEND_SINCE = (1, 49)
PROGRAM_FIELDS_OF_IMAGES_UNTIL = (1, 50)
"""Below this version, the Config of an image also has the fields that only a container has, and info br_netfilter's."""
CONTAINER_COUNTS_SINCE = (1, 51)
USAGE_SINCE = (1, 52)
"""From this version on: brief disk usage, no address of the default network in NetworkSettings itself, no
container-wide MAC address, no unset fields of images, os_type in stats."""
LEGACY_USAGE_UNTIL = (1, 53)
UMASK_SINCE = (1, 56)

_PROGRAM_FIELDS: Mapping[str, object] = {
    "Hostname": "",
    "Domainname": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Image": "",
}
_CONFIG_FIELDS = ("Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir")
_IMAGE_FIELDS = ("Parent", "Comment", "DockerVersion", "Author")
_TEXTS = ("User", "WorkingDir")
_USAGES = {
    "Images": "ImageUsage",
    "Containers": "ContainerUsage",
    "Volumes": "VolumeUsage",
    "BuildCache": "BuildCacheUsage",
}


def image(shape: dict[str, Any], version: Version) -> dict[str, Any]:
    """Return the response to ``GET /images/{name}/json`` for *version*; *shape* is that of 1.51."""
    if version >= USAGE_SINCE:
        config = {key: value for key, value in shape["Config"].items() if value or key not in _CONFIG_FIELDS}
        kept = {key: value for key, value in shape.items() if value or key not in _IMAGE_FIELDS}
        return {**kept, "Config": config}
    if version >= PROGRAM_FIELDS_OF_IMAGES_UNTIL:
        return shape
    result = {**shape, "Config": {**_PROGRAM_FIELDS, **shape["Config"]}}
    if version < CONTAINER_CONFIG_UNTIL:
        unset = {key: "" if key in _TEXTS else None for key in _CONFIG_FIELDS}
        result["ContainerConfig"] = {**_PROGRAM_FIELDS, **unset}
    if version < VIRTUAL_SIZE_UNTIL:
        result["VirtualSize"] = shape["Size"]
    return result


def image_row(shape: dict[str, Any], version: Version) -> dict[str, Any]:
    """Return a row of ``GET /images/json`` for *version*."""
    result = dict(shape)
    if version < CONTAINER_COUNTS_SINCE:
        result["Containers"] = -1
    if version < VIRTUAL_SIZE_UNTIL:
        result["VirtualSize"] = shape["Size"]
    return result


def info(shape: dict[str, Any], version: Version) -> dict[str, Any]:
    """Return the response to ``GET /info`` for *version*; *shape* is that of 1.51."""
    result = dict(shape)
    if version < PROGRAM_FIELDS_OF_IMAGES_UNTIL:
        result |= {"BridgeNfIptables": False, "BridgeNfIp6tables": False}
    if version < FIREWALL_BACKEND_SINCE:
        result.pop("FirewallBackend", None)
    if version >= USAGE_SINCE:
        result.pop("KernelMemoryTCP", None)
    return result


def disk_usage(shape: dict[str, Any], version: Version, *, verbose: bool) -> dict[str, Any]:
    """Return the response to ``GET /system/df`` for *version*; *shape* is that of 1.51, with None for other types."""
    if version < USAGE_SINCE:
        return shape
    brief = {name: _usage(key, shape, verbose) for key, name in _USAGES.items() if shape[key] is not None}
    return brief if verbose or version >= LEGACY_USAGE_UNTIL else {**shape, **brief}


def _usage(key: str, shape: Mapping[str, Any], verbose: bool) -> dict[str, Any]:
    items = shape[key]
    active = [item for item in items if _is_active(key, item)]
    sizes = [_size(key, item) for item in items]
    total = shape.get("LayersSize", 0) if key == "Images" else sum(sizes)
    result = {
        "ActiveCount": len(active),
        "TotalCount": len(items),
        "TotalSize": total,
        "Reclaimable": max(total - sum(_size(key, item) for item in active), 0),
    }
    return {**result, "Items": items} if verbose else result


def _is_active(key: str, item: Mapping[str, Any]) -> bool:
    if key == "Images":
        return bool(item["Containers"] > 0)
    if key == "Containers":
        return item["State"] in ("running", "paused", "restarting")
    return bool(item["UsageData"]["RefCount"] > 0) if key == "Volumes" else bool(item["InUse"])


def _size(key: str, item: Mapping[str, Any]) -> int:
    size: int = {"Containers": lambda: item["SizeRw"], "Volumes": lambda: item["UsageData"]["Size"]}.get(
        key, lambda: item["Size"]
    )()
    return size
