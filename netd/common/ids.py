"""Identifiers and names: how they are made and what they may look like."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
NAME_RULE = "[a-zA-Z0-9][a-zA-Z0-9_.-]*"


def new_id() -> str:
    """Return 64 hex digits whose first twelve are not all decimal, so that a short id never reads as a number."""
    while True:
        found = secrets.token_hex(32)
        if not found[:12].isdigit():
            return found


def short(identifier: str) -> str:
    """Return the twelve characters that people see."""
    return identifier[:12]


def now() -> str:
    """Return the present as RFC 3339 in UTC with nanosecond digits, as Docker writes it."""
    moment = datetime.now(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond * 1000:09d}Z"
