"""The ``Status`` column of ``docker ps``: state and duration.  Pure."""

from __future__ import annotations

from datetime import datetime

from netd.common.ids import ZERO_TIME


def seconds_since(time: str, now: datetime) -> float:
    """Return the seconds from an RFC 3339 time to *now*; digits beyond microseconds are ignored."""
    head, _, tail = time.removesuffix("Z").partition(".")
    return (now - datetime.fromisoformat(f"{head}.{tail[:6]:0<6}+00:00")).total_seconds()


def human_duration(seconds: float) -> str:
    """Return a duration in words, as Docker's ``units.HumanDuration``: ``3 minutes``, ``About an hour``."""
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
    return _human_hours(int(whole / 3600 + 0.5))


def _human_hours(hours: int) -> str:
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    days = hours // 24
    for size, limit, name in ((1, 14, "days"), (7, 60, "weeks"), (30, 730, "months")):
        if days < limit:
            return f"{days // size} {name}"
    return f"{days // 365} years"


def status_column(status: str, code: int, started: str, finished: str, now: datetime, health: str = "") -> str:
    """Return the ``Status`` column; *health* is ``starting``, ``healthy``, ``unhealthy`` or empty."""
    if status in ("running", "paused"):
        up = f"Up {human_duration(seconds_since(started, now))}"
        if status == "paused":
            return f"{up} (Paused)"
        suffix = {"": "", "starting": " (health: starting)"}.get(health, f" ({health})")
        return up + suffix
    if status == "restarting":
        return f"Restarting ({code}) {human_duration(seconds_since(finished, now))} ago"
    if status == "removing":
        return "Removal In Progress"
    if finished == ZERO_TIME:
        return "Created"
    return f"Exited ({code}) {human_duration(seconds_since(finished, now))} ago"
