"""Identifiers, names and timestamps, in Docker's formats."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_WHOLE = re.compile(r"[0-9a-f]{64}\Z")
NAME_RULE = "[a-zA-Z0-9][a-zA-Z0-9_.-]*"
ZERO_TIME = "0001-01-01T00:00:00Z"
"""Go's zero time, which Docker's API uses for a time that is not set."""


def new_id() -> str:
    """Return 64 hex digits whose first twelve are not all decimal, so that a short id never reads as a number."""
    while True:
        found = secrets.token_hex(32)
        if not found[:12].isdigit():
            return found


def is_id(text: str) -> bool:
    """Return whether *text* has the form of a whole id."""
    return _WHOLE.match(text) is not None


def short(identifier: str) -> str:
    """Return the first twelve characters, which clients display."""
    return identifier[:12]


def now() -> str:
    """Return the current time in UTC as RFC 3339 with nine fractional digits, the format of Docker's API."""
    moment = datetime.now(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond * 1000:09d}Z"
