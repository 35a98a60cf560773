"""Decodes JSON by the scanner of the standard library's extension module.

The package ``json`` imports ``re`` and ``enum``, which take a third of the time of a short call of netctl.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\n\r"


class _Settings:
    """The attributes that the scanner reads, with the values of :class:`json.JSONDecoder`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def decode(data: bytes) -> Any:
    """Return the value of a JSON document in UTF-8, as ``json.loads`` does.  Raises ValueError."""
    try:
        from _json import make_scanner
    except ImportError:  # an interpreter without this extension module
        from json import loads

        return loads(data)
    text = data.decode("utf-8", "surrogatepass").strip(_SPACE)
    scan: Any = make_scanner
    try:
        value, end = scan(_Settings)(text, 0)
    except StopIteration:
        raise ValueError("the text is not a JSON value") from None
    if end != len(text):
        raise ValueError("the JSON value is followed by other text")
    return value
