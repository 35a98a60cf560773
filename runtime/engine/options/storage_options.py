"""Parses ``--storage-opt``.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from netd.common.errors import BadRequest

_SIZE = re.compile(r"(\d{1,15})\s*([kmgtp]?)(?:i?b)?\Z", re.ASCII | re.IGNORECASE)
_SMALLEST = 1 << 20


def size(options: Mapping[str, str] | None) -> int:
    """Return the size limit of the root in bytes, 0 for none.  Raises BadRequest with Docker's messages."""
    limit = 0
    for key, value in (options or {}).items():
        if key.lower() != "size":
            raise BadRequest(f"Unknown option {key}")
        found = _SIZE.match(value)
        if not found:
            raise BadRequest(f"invalid size: '{value}'")
        limit = int(found[1]) << 10 * " kmgtp".index(found[2].lower() or " ")
        if limit < _SMALLEST:
            raise BadRequest(f"--storage-opt size={value} is too small: use 1m or more")
    return limit
