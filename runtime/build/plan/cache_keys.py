"""Keys of the build cache: two steps with the same key have the same result.  Pure.

A key covers the key of the step before, the instruction with its variables expanded, and the contents of the files that
it reads: contents, modes and owners, not times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from netd.common import codec

_VERSION = "1"
"""Changes when steps with the same inputs get other results."""


def base_key(image: str) -> str:
    """Return the key of a FROM: *image* is an image's id, empty for scratch."""
    return _key("from", image)


def metadata_key(parent: str, keyword: str, before: msgspec.Struct, after: msgspec.Struct, text: str) -> str:
    """Return the key of a step that changes the configuration *before* to *after*; *text* is shown in the history."""
    return _key("metadata", parent, keyword, codec.encode(before).decode(), codec.encode(after).decode(), text)


def arg_key(parent: str, text: str) -> str:
    """Return the key of an ARG: its value counts only where RUN uses it."""
    return _key("arg", parent, text)


def run_key(
    parent: str,
    command: Iterable[str],
    arguments: Mapping[str, str],
    *,
    documents: Iterable[str] = (),
    mounts: Iterable[str] = (),
    network: str = "",
) -> str:
    """Return the key of a RUN: *arguments* are the ARG values it sees, *mounts* describe mounts with their content."""
    words = [f"{name}={value}" for name, value in sorted(arguments.items())]
    return _key("run", parent, [*command], words, [*documents], [*mounts], network)


def copy_key(parent: str, sources: Iterable[str], target: str, options: Iterable[str]) -> str:
    """Return the key of a COPY or ADD: *sources* are digests or descriptions of what is copied."""
    return _key("copy", parent, [*sources], target, [*options])


def _key(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode([_VERSION, *parts])).hexdigest()
