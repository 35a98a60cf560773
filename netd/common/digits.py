"""Strict parsing of decimal integers from clients.

``int`` also accepts signs, spaces, underscores and the digits of other scripts, and raises ValueError for more than
4,300 digits, which ``isdecimal`` accepts.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""The type of integer fields in Docker's API; without it msgspec decodes larger numbers, which it cannot encode."""

_LARGEST = 2**63 - 1
_LENGTH = 19
"""Number of digits of the largest number."""


def unsigned(text: str, largest: int = _LARGEST) -> int | None:
    """Parse ASCII digits; None for any other text and for numbers above *largest*."""
    if not (text.isascii() and text.isdigit() and len(text) <= _LENGTH):
        return None
    number = int(text)
    return number if number <= largest else None


def signed(text: str) -> int | None:
    """Parse as :func:`unsigned` does, with an optional leading minus sign."""
    number = unsigned(text.removeprefix("-"))
    return -number if number is not None and text.startswith("-") else number
