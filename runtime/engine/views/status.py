"""The words of ``docker ps``: how long ago, and what state.  Pure."""

from __future__ import annotations

from datetime import datetime

from netd.common.ids import ZERO_TIME


def seconds_since(moment: str, now: datetime) -> float:
    """Return the seconds from an RFC 3339 time to *now*; digits below microseconds are ignored."""
    head, _, tail = moment.removesuffix("Z").partition(".")
    return (now - datetime.fromisoformat(f"{head}.{tail[:6]:0<6}+00:00")).total_seconds()


def how_long(seconds: float) -> str:
    """Return a span as people say it: ``Less than a second``, ``3 minutes``, ``About an hour``."""
    whole = max(int(seconds), 0)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if whole < 120:
        return "About a minute"
    if whole < 3600:
        return f"{whole // 60} minutes"
    return _long(int(whole / 3600 + 0.5))


def _long(hours: int) -> str:
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    days = hours // 24
    for size, most, name in ((1, 14, "days"), (7, 60, "weeks"), (30, 730, "months")):
        if days < most:
            return f"{days // size} {name}"
    return f"{days // 365} years"


def text(status: str, code: int, started: str, finished: str, now: datetime, health: str = "") -> str:
    """Return the ``Status`` column; *health* is ``starting``, ``healthy``, ``unhealthy`` or empty."""
    if status in ("running", "paused"):
        up = f"Up {how_long(seconds_since(started, now))}"
        if status == "paused":
            return f"{up} (Paused)"
        note = {"": "", "starting": " (health: starting)"}.get(health, f" ({health})")
        return up + note
    if status == "restarting":
        return f"Restarting ({code}) {how_long(seconds_since(finished, now))} ago"
    if status == "removing":
        return "Removal In Progress"
    if finished == ZERO_TIME:
        return "Created"
    return f"Exited ({code}) {how_long(seconds_since(finished, now))} ago"
