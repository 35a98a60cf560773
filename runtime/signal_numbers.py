"""Parses signal names and numbers.  Pure."""

from __future__ import annotations

import signal

from netd.common.digits import unsigned
from netd.common.errors import BadRequest

_RTMIN, _RTMAX = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
_NUMBERS = {item.name.removeprefix("SIG"): int(item) for item in signal.Signals}
_HIGHEST = 64


def number(text: str) -> int:
    """Return the number of ``TERM``, ``SIGTERM``, ``15`` or ``RTMIN+3``.  Raises BadRequest for other texts."""
    if value := unsigned(text, _HIGHEST):
        return value
    name = text.upper().removeprefix("SIG") if text.isascii() else ""
    if name in _NUMBERS:
        return _NUMBERS[name]
    offset = unsigned(name[6:], _RTMAX - _RTMIN)
    if offset is not None and name.startswith("RTMIN+"):
        return _RTMIN + offset
    if offset is not None and name.startswith("RTMAX-"):
        return _RTMAX - offset
    raise BadRequest(f"invalid signal: {text}")
