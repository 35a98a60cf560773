"""Makes the paths of a document absolute.  Pure."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from typing import Any

from netd.compose.errors import Path
from netd.compose.reading.patterns import PathTable

Json = dict[str, Any]

_REMOTE = ("git@", "github.com/", "http:", "https:", "git:", "ssh:")


def resolve(document: Json, folder: str, home: str) -> Json:
    """Return *document* with relative paths taken from *folder* and ``~`` from *home*."""

    def walk(value: Any, path: Path) -> Any:
        rule = _RULES.get(path)
        if rule is not None:
            return rule(value, folder, home)
        if isinstance(value, dict):
            return {key: walk(entry, (*path, key)) for key, entry in value.items()}
        if isinstance(value, list):
            return [walk(entry, (*path, index)) for index, entry in enumerate(value)]
        return value

    resolved: Json = walk(document, ())
    return resolved


def absolute(path: str, folder: str, home: str) -> str:
    if path.startswith("~"):
        return os.path.normpath(os.path.join(home, path[1:].lstrip("/")))
    return path if os.path.isabs(path) else os.path.normpath(os.path.join(folder, path))


def is_remote(context: str) -> bool:
    """Return whether a build context is an address: a repository, an archive, an image or another service."""
    return "://" in context or context.startswith(_REMOTE) or context.startswith(("service:", "target:", "oci:"))


def _file(value: Any, folder: str, home: str) -> Any:
    return absolute(value, folder, home) if isinstance(value, str) else value


def _context(value: Any, folder: str, home: str) -> Any:
    if not isinstance(value, str) or is_remote(value):
        return value
    return absolute(value, folder, home)


def _volume(value: Any, folder: str, home: str) -> Any:
    if not isinstance(value, dict) or value.get("type") != "bind" or not isinstance(value.get("source"), str):
        return value
    return {**value, "source": absolute(value["source"], folder, home)}


def _volume_object(value: Any, folder: str, home: str) -> Any:
    """Resolve the device of a volume that is a bind mount."""
    options = value.get("driver_opts") if isinstance(value, dict) else None
    if not isinstance(options, dict) or value.get("driver", "local") != "local" or options.get("o") != "bind":
        return value
    device = options.get("device")
    if not isinstance(device, str):
        return value
    return {**value, "driver_opts": {**options, "device": absolute(device, folder, home)}}


_RULES: PathTable[Callable[[Any, str, str], Any]] = PathTable(
    {
        "services.*.build.context": _context,
        "services.*.build.additional_contexts.*": _context,
        "services.*.build.ssh.*": lambda value, _folder, _home: value,
        "services.*.env_file.*.path": _file,
        "services.*.label_file.*": _file,
        "services.*.extends.file": _file,
        "services.*.develop.watch.*.path": _file,
        "services.*.volumes.*": _volume,
        "volumes.*": _volume_object,
        "secrets.*.file": _file,
        "configs.*.file": _file,
    }
)
