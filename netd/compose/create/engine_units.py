"""Quantities of the canonical form as the Engine API has them.  Pure."""

from __future__ import annotations

from netd.compose.files.quantities import nanoseconds


def whole_seconds(text: str) -> int:
    """Return a duration in seconds, rounded down.  Raises ValueError."""
    return nanoseconds(text) // 10**9


def number_of_bytes(text: str) -> int:
    """Return the bytes of a canonical size, which is a decimal number; 0 if there is none.  Raises ValueError."""
    digits = text.removeprefix("-")
    if not digits:
        return 0
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ValueError(f"{text!r} is not a number of bytes")
    return int(text)


__all__ = ["nanoseconds", "number_of_bytes", "whole_seconds"]
