"""Quantities of the canonical form as the Engine API has them: durations in nanoseconds, bytes.  Pure."""

from __future__ import annotations

import re

_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1000, "µs": 1000, "ns": 1}
_PART = re.compile(r"(\d+)(?:\.(\d+))?(ms|us|µs|ns|h|m|s)", re.ASCII)


def nanoseconds(text: str | None) -> int:
    """Return a Go duration such as ``1m30s`` or ``1.5s`` in nanoseconds; 0 for None.  Raises ValueError."""
    rest, total = text or "0s", 0
    while rest:
        part = _PART.match(rest)
        if part is None or len(part.group(1)) > 18:
            raise ValueError(f"{text!r} is not a duration; use a duration such as 1m30s")
        unit = _UNITS[part.group(3)]
        total += int(part.group(1)) * unit
        decimals = (part.group(2) or "0")[:9]
        total += int(decimals) * unit // 10 ** len(decimals)
        rest = rest[part.end() :]
    return total


def whole_seconds(text: str | None) -> int | None:
    """Return a duration in seconds, rounded down, or None."""
    return None if text is None else nanoseconds(text) // 10**9


def number_of_bytes(text: str) -> int:
    """Return the bytes of a canonical size, which is a decimal number; 0 if there is none.  Raises ValueError."""
    digits = text.removeprefix("-")
    if not digits:
        return 0
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ValueError(f"{text!r} is not a number of bytes")
    return int(text)
