"""MAC addresses as texts."""

from __future__ import annotations

import re

_MAC = re.compile(r"([0-9a-fA-F]{2})([:-][0-9a-fA-F]{2}){5}\Z")


def normalize(text: str) -> str:
    """Return the address of one interface as the kernel writes it; "" when *text* is none."""
    if not _MAC.match(text) or int(text[:2], 16) & 1:
        return ""
    return text.lower().replace("-", ":")


def generate(tail: bytes) -> str:
    """Return the address that follows from four bytes: 02:42 and these, as Docker's once did from IPv4 addresses."""
    return "02:42:" + tail.hex(":")
