"""Whole numbers as clients write them, read strictly.

``int`` also takes signs, spaces, underscores and the digits of other scripts, and raises ValueError for more than
4,300 digits, which ``isdecimal`` lets through.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Docker's integers, as the type of a field; msgspec neither refuses larger ones by itself nor encodes them."""

_LARGEST = 2**63 - 1
_LENGTH = 19
"""Digits of the largest number."""


def unsigned(text: str, largest: int = _LARGEST) -> int | None:
    """Return the number that *text* is in ASCII digits alone; None for anything else and above *largest*."""
    if not (text.isascii() and text.isdigit() and len(text) <= _LENGTH):
        return None
    number = int(text)
    return number if number <= largest else None


def signed(text: str) -> int | None:
    """Return what :func:`unsigned` returns; a leading minus sign is allowed."""
    number = unsigned(text.removeprefix("-"))
    return -number if number is not None and text.startswith("-") else number
