"""Durations and sizes in the format of Docker's command.  Pure, except for :func:`ago`, which reads the clock."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return "5 seconds", "About a minute", "3 weeks" …: one unit, rounded down."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    return _minutes_and_more(whole)


def _minutes_and_more(seconds: int) -> str:
    minutes, hours = seconds // 60, int(seconds / 3600 + 0.5)
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours <= 1:
        return "About an hour"
    for limit, unit_hours, unit in ((48, 1, "hours"), (336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months")):
        if hours < limit:
            return f"{hours // unit_hours} {unit}"
    return f"{hours // 8760} years"


def ago(unix: float) -> str:
    import time

    return f"{duration(time.time() - unix)} ago"


def seconds_of(moment: str) -> float:
    """Return the Unix time of an RFC 3339 timestamp with up to nine decimals, of which six are used."""
    from datetime import datetime

    whole, dot, rest = moment.partition(".")
    if not dot:
        return datetime.fromisoformat(moment).timestamp()
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return datetime.fromisoformat(f"{whole}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}").timestamp()


def size(count: float, digits: int = 3) -> str:
    """Return bytes in powers of 1000: "4.42MB"."""
    return _scaled(count, 1000, ("B", "kB", "MB", "GB", "TB", "PB"), digits)


def binary_size(count: float) -> str:
    """Return bytes in powers of 1024: "100MiB"."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"), 4)


def _scaled(count: float, base: int, units: tuple[str, ...], digits: int) -> str:
    unit = 0
    while count >= base and unit < len(units) - 1:
        count /= base
        unit += 1
    return f"{float(f'{count:.{digits}g}'):g}{units[unit]}"
