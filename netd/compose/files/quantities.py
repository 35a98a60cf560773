"""Sizes, durations and file modes as Docker's compose writes them.

Pure.  Functions raise ValueError with the reason.
"""

from __future__ import annotations

import re
from typing import Any

from netd.cli.parse.units import memory_or_none

_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
          "d": 86400 * 10**9, "w": 7 * 86400 * 10**9}  # fmt: skip
_PART = re.compile(r"(\d{1,18})(?:\.(\d{1,18}))?(ns|us|µs|ms|s|m|h|d|w)", re.ASCII)


def size(value: Any) -> str:
    """Return a size in bytes as decimal text: ``10m`` is ``10485760``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"invalid size {value!r}: use a number with b, k, m or g")
    if not isinstance(value, str):
        return str(int(value))
    try:
        return str(memory_or_none(value))
    except (ValueError, OverflowError):
        raise ValueError(f"invalid size {value!r}: use a number with b, k, m or g, such as 100m") from None


def nanoseconds(text: str) -> int:
    """Return the nanoseconds of ``1m30s``, ``1.5s``, ``2d``."""
    if text == "0":
        return 0
    total, at = 0, 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            break
        unit = _UNITS[found[3]]
        fraction = found[2] or ""
        total += int(found[1]) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        at = found.end()
    if at < len(text) or not text or total > 2**63 - 1:
        raise ValueError(f"invalid duration {text!r}: use a number with a unit, such as 90s or 1m30s")
    return total


def duration(value: Any) -> str:
    """Return a duration in Go's form: ``90s`` is ``1m30s``."""
    return go_duration(nanoseconds(str(value)))


def go_duration(total: int) -> str:
    """Return Go's text for nanoseconds: ``1h0m0s``, ``1.5s``, ``500ms``, ``0s``."""
    if total < 10**9:
        for unit, name in ((10**6, "ms"), (10**3, "µs"), (1, "ns")):
            if total >= unit:
                return f"{_decimal(total, unit)}{name}"
        return "0s"
    minutes, rest = divmod(total, 60 * 10**9)
    seconds = f"{_decimal(rest, 10**9)}s"
    if not minutes:
        return seconds
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}"


def _decimal(total: int, unit: int) -> str:
    whole, rest = divmod(total, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{str(rest).zfill(digits)}".rstrip("0").rstrip(".") if rest else str(whole)


def mode(value: Any) -> str:
    """Return a file mode as octal text: 0440 and ``"0440"`` are ``0440``."""
    text = f"{value:04o}" if isinstance(value, int) else str(value)
    if not re.fullmatch(r"0?o?[0-7]{1,5}", text, re.ASCII):
        raise ValueError(f"invalid file mode {value!r}: use octal digits, such as 0440")
    number = int(text.replace("o", ""), 8)
    if number > 0o7777:
        raise ValueError(f"invalid file mode {value!r}: use at most 07777")
    return f"{number:04o}"


def mode_number(value: Any) -> int:
    """Return a file mode as a number; texts are octal."""
    return value if isinstance(value, int) else int(mode(value), 8)
