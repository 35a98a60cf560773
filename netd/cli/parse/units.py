"""Quantities on the command line: bytes, CPUs, durations and times.

Pure.  Functions raise ValueError with the reason to show, without value and flag.
"""

from __future__ import annotations

_SIZE_UNITS = "bkmgtp"
_TIME_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def memory(text: str) -> int:
    """Return bytes: ``100m``, ``1.5g``, ``512``, ``64kb``, ``1GiB``; units are powers of 1024."""
    reason = "use a number with b, k, m, g or t, such as 100m"
    number = text.strip().lower()
    if number.endswith("b") and number[-2:-1].isalpha():
        number = number[:-1]
        number = number[:-1] if number.endswith("i") else number
    unit = "b"
    if number[-1:].isalpha():
        number, unit = number[:-1].rstrip(), number[-1]
    if unit not in _SIZE_UNITS or not _is_decimal(number):
        raise ValueError(reason)
    return int(float(number) * 1024 ** _SIZE_UNITS.index(unit)) if "." in number else _whole(number, unit)


def memory_or_none(text: str) -> int:
    """Return bytes as :func:`memory` does; ``-1`` means no limit."""
    return -1 if text.strip() == "-1" else memory(text)


def nano_cpus(text: str) -> int:
    """Return billionths of a CPU, without rounding: ``.5``, ``1.5``, ``2``."""
    whole, _, part = text.strip().partition(".")
    if not _is_decimal(text.strip()):
        raise ValueError("use a number of CPUs, such as .5 or 2")
    if len(part) > 9:
        raise ValueError("at most nine decimals are allowed")
    return int(whole or "0") * 10**9 + int(part.ljust(9, "0"))


def seconds_of_span(text: str) -> float:
    """Return seconds: ``10m``, ``1h30m``, ``1.5s``, ``250ms``."""
    total, rest = 0.0, text
    while rest:
        number = _leading_run(rest, "0123456789.")
        unit = _leading_run(rest[len(number) :], "hmsuµn")
        if unit not in _TIME_UNITS or not _is_decimal(number):
            raise ValueError("use a duration such as 90s, 10m or 1h30m")
        total += float(number) * _TIME_UNITS[unit]
        rest = rest[len(number) + len(unit) :]
    return total


def moment(text: str, now: float) -> str:
    """Return Unix seconds for the API from Unix seconds, a duration before *now*, or a date and time.

    A date and time without a zone is local time.
    """
    if _is_decimal(text):
        return text
    try:
        return f"{now - seconds_of_span(text):.9f}"
    except ValueError:
        from netd.cli.output.human import seconds_of

        try:
            return f"{seconds_of(text):.6f}"
        except ValueError:
            raise ValueError(
                "use a duration such as 10m, Unix seconds, or a date and time such as 2024-05-01T10:00:00"
            ) from None


def _is_decimal(text: str) -> bool:
    digits = text.replace(".", "", 1)
    return digits.isascii() and digits.isdigit()


def _whole(number: str, unit: str) -> int:
    return int(number) << 10 * _SIZE_UNITS.index(unit)


def _leading_run(text: str, letters: str) -> str:
    return text[: len(text) - len(text.lstrip(letters))]
