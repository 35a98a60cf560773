"""Replace what differs between any two runs: ids, times, sizes, addresses, paths of the daemon.  Pure."""

from __future__ import annotations

import re
from typing import Any

_TEXTS = (
    (re.compile(r"sha256:[0-9a-f]{64}"), "<digest>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<short id>"),
    (re.compile(r"\b(?!0001-01-01)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), "<time>"),
    (re.compile(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "<mac>"),
    (re.compile(r"\b(?:172\.(?:1[6-9]|2\d|3[01])|192\.168|10\.208|10\.224)(?:\.\d+){2}\b"), "<address>"),
    (re.compile(r"\bfd[0-9a-f]{2}(:[0-9a-f]{0,4}){2,7}"), "<address6>"),
    (re.compile(r"\b(seconds|minutes|hours|days|weeks|months) ago\b"), "ago"),
    (re.compile(r"(About an?|Less than a|\d+) (second|minute|hour)s?( ago)?"), "<age>"),
    (re.compile(r"/[\w/.-]*/(containers|overlay2|layers|volumes|netns)/[\w/.<> -]*"), r"<path of \1>"),
    (re.compile(r"\bdevice '[\w/.-]+'"), "device '<path>'"),
)
_NUMBERS = frozenset(
    {"Created", "Size", "SizeRw", "SizeRootFs", "SharedSize", "Pid", "time", "timeNano", "LayersSize", "VirtualSize"}
)
_PATHS = frozenset({"LowerDir", "UpperDir", "WorkDir", "MergedDir"})
_TIMES = frozenset({"CreatedAt", "LastTagTime"})


def normalized(value: Any, key: str = "") -> Any:
    """Return *value* with placeholders; *key* is the name under which its parent holds it."""
    if isinstance(value, dict):
        return {_text(name): normalized(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [normalized(inner, key) for inner in value]
    if isinstance(value, str) and key in _PATHS and value:
        return "<path>"
    if isinstance(value, str):
        return "<time>" if key in _TIMES and value else _text(value)
    if key in _NUMBERS and isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return "<number>"
    return value


def _text(text: str) -> str:
    for pattern, placeholder in _TEXTS:
        text = pattern.sub(placeholder, text)
    return text
