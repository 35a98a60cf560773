"""What links and MAC addresses look like."""

from __future__ import annotations

import re

LINK = re.compile(r"(?!\.{1,2}\Z|lo\Z)[^\s/:%]{1,15}\Z")
MAC = re.compile(r"([0-9a-fA-F]{2})([:-][0-9a-fA-F]{2}){5}\Z")


def plain_mac(text: str) -> str:
    """Return a MAC address as the kernel writes it."""
    return text.lower().replace("-", ":")
