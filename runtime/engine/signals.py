"""Signals as people write them.  Pure."""

from __future__ import annotations

import signal

from netd.common.errors import BadRequest

_RTMIN, _RTMAX = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
_NUMBERS = {item.name.removeprefix("SIG"): int(item) for item in signal.Signals}
_HIGHEST = 64


def number(text: str) -> int:
    """Return the number of ``TERM``, ``SIGTERM``, ``15`` or ``RTMIN+3``.  Raises BadRequest for anything else."""
    name = text.strip().upper().removeprefix("SIG") if text.isascii() else ""
    if name.isdecimal() and 0 < int(name) <= _HIGHEST:
        return int(name)
    if name in _NUMBERS:
        return _NUMBERS[name]
    if name.startswith("RTMIN+") and name[6:].isdecimal() and _RTMIN + int(name[6:]) <= _RTMAX:
        return _RTMIN + int(name[6:])
    if name.startswith("RTMAX-") and name[6:].isdecimal() and _RTMAX - int(name[6:]) >= _RTMIN:
        return _RTMAX - int(name[6:])
    raise BadRequest(f"invalid signal: {text}")
