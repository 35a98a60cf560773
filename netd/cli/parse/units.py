"""Quantities on the command line: bytes, processors, spans and moments of time.

Pure.  A ValueError's text is the reason to show the person, without the value and the flag.
"""

from __future__ import annotations

_SIZE_UNITS = "bkmgtp"
_SPANS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def memory(text: str) -> int:
    """Return bytes: ``100m``, ``1.5g``, ``512``, ``64kb``, ``1GiB``; units are powers of 1024."""
    reason = "say a number with b, k, m, g or t, such as 100m"
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
    """As :func:`memory`; ``-1`` stands for no limit."""
    return -1 if text.strip() == "-1" else memory(text)


def nano_cpus(text: str) -> int:
    """Return billionths of a processor, exactly: ``.5``, ``1.5``, ``2``."""
    whole, _, part = text.strip().partition(".")
    if not _is_decimal(text.strip()):
        raise ValueError("say how many processors, such as .5 or 2")
    if len(part) > 9:
        raise ValueError("that is finer than a billionth of a processor")
    return int(whole or "0") * 10**9 + int(part.ljust(9, "0"))


def span(text: str) -> float:
    """Return seconds: ``10m``, ``1h30m``, ``1.5s``, ``250ms``."""
    total, rest = 0.0, text
    while rest:
        number = _leading(rest, "0123456789.")
        unit = _leading(rest[len(number) :], "hmsuµn")
        if unit not in _SPANS or not _is_decimal(number):
            raise ValueError("say a time such as 90s, 10m or 1h30m")
        total += float(number) * _SPANS[unit]
        rest = rest[len(number) + len(unit) :]
    return total


def moment(text: str, now: float) -> str:
    """Return Unix seconds as the API takes them, from Unix seconds, a span before *now*, or a date and time.

    A date and time without a zone is local.
    """
    if _is_decimal(text):
        return text
    try:
        return f"{now - span(text):.9f}"
    except ValueError:
        from netd.cli.output.human import seconds_of

        try:
            return f"{seconds_of(text):.6f}"
        except ValueError:
            raise ValueError(
                "say a span such as 10m, Unix seconds, or a date and time such as 2024-05-01T10:00:00"
            ) from None


def _is_decimal(text: str) -> bool:
    digits = text.replace(".", "", 1)
    return digits.isascii() and digits.isdigit()


def _whole(number: str, unit: str) -> int:
    return int(number) << 10 * _SIZE_UNITS.index(unit)


def _leading(text: str, letters: str) -> str:
    return text[: len(text) - len(text.lstrip(letters))]
