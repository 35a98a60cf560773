"""Filters of ``GET /images/json`` and ``POST /images/prune``.  Pure but for the images that they name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from netd.common.errors import BadRequest
from netd.common.filters import Filters
from runtime.images.image_config import ImageRecord
from runtime.images.image_store import Images
from runtime.images.reference import Reference

LIST_KEYS = frozenset({"before", "dangling", "label", "reference", "since", "until"})
PRUNE_KEYS = frozenset({"dangling", "label", "label!", "until"})


def created(image: ImageRecord) -> float:
    """Return when the image was created, in seconds since 1970; 0 if it is unknown."""
    return moment(image.document.created)


def moment(text: str) -> float:
    """Return a time of an image's configuration in seconds since 1970; 0 if it is invalid."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except (ValueError, OverflowError):
        return 0.0


def matches_labels(image: ImageRecord, filters: Filters) -> bool:
    config = image.document.config
    return filters.selects_labels((config.labels if config else None) or {})


def matches_age(image: ImageRecord, filters: Filters, images: Images, until: Sequence[float]) -> bool:
    """Return whether the image was created before, since and until the images and times of the filters.

    An image whose time is unknown matches no such filter.
    """
    made = created(image)
    before = [created(images.find(text)) for text in filters.get("before")]
    since = [created(images.find(text)) for text in filters.get("since")]
    limits = (*before, *until)
    if (limits or since) and not made:
        return False
    return all(made < other for other in limits) and all(made > other for other in since)


def selected_names(names: Sequence[Reference], filters: Filters) -> list[Reference]:
    """Return the names that match one of the patterns of the filter ``reference``; all without such a filter.

    Patterns are those of Go's ``path.Match``, for the name as users write it, with or without tag: ``busybox``,
    ``busybox:1.*``, ``local/*``.  Raises BadRequest for an invalid pattern.
    """
    patterns = [_pattern(text) for text in filters.get("reference")]
    if not patterns:
        return list(names)
    return [name for name in names if any(pattern.fullmatch(text) for pattern in patterns for text in _texts(name))]


def _texts(name: Reference) -> tuple[str, ...]:
    return name.short, name.short_repository, name.full, name.repository


@lru_cache(maxsize=64)
def _pattern(text: str) -> re.Pattern[str]:
    """Translate a pattern: ``*`` and ``?`` do not match a slash."""
    parts: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            end = text.find("]", position + 2 if text[position : position + 1] == "^" else position + 1)
            if end < 0:
                raise BadRequest("syntax error in pattern")
            parts.append(_characters(text[position:end]))
            position = end + 1
        elif character == "\\":
            if position >= len(text):
                raise BadRequest("syntax error in pattern")
            parts.append(re.escape(text[position]))
            position += 1
        else:
            parts.append(re.escape(character))
    try:
        return re.compile("".join(parts))
    except re.error:
        raise BadRequest("syntax error in pattern") from None


def _characters(inner: str) -> str:
    negated = inner.startswith("^")
    escaped = inner[negated:].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("^", "\\^")
    return f"[{'^/' if negated else ''}{escaped}]"
