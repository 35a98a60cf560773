"""Parses ``WWW-Authenticate`` (RFC 9110, section 11.6.1).  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|\Z|(?=,))")
_PARAM = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?=,|\Z|\s)')
_MOST_HEADERS, _LONGEST_HEADER = 8, 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    scheme: str
    """In lower case: ``basic``, ``bearer``."""
    params: dict[str, str]
    """Names in lower case."""


def parse(headers: Iterable[str]) -> list[Challenge]:
    """Return the challenges of all headers; what cannot be parsed ends the header that it is in."""
    found: list[Challenge] = []
    for header in list(headers)[:_MOST_HEADERS]:
        found += _parse_header(header[:_LONGEST_HEADER])
    return found


def _parse_header(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    position = 0
    while scheme := _SCHEME.match(text, position):
        position = scheme.end()
        params: dict[str, str] = {}
        while param := _PARAM.match(text, position):
            quoted, plain = param[2], param[3]
            params[param[1].lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            position = param.end()
        found.append(Challenge(scheme[1].lower(), params))
    return found
