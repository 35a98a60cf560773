"""The flags of health checks, and the field ``Healthcheck`` of request bodies."""

from __future__ import annotations

from netd.cli.errors import UsageFault
from netd.cli.parse.flags import switch, text
from netd.cli.parse.units import seconds_of_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options

_TIMES = {
    "health-interval": "Interval",
    "health-timeout": "Timeout",
    "health-start-period": "StartPeriod",
    "health-start-interval": "StartInterval",
}

HEALTH = (
    text("health-cmd", "", "COMMAND", "Command that checks the health of the container, run by /bin/sh"),
    text("health-interval", "", "DURATION", "Time between two checks, such as 10s (30s)"),
    text("health-timeout", "", "DURATION", "Time after which a check has failed (30s)"),
    text("health-retries", "", "NUMBER", "Failed checks in a row after which the container is unhealthy (3)"),
    text("health-start-period", "", "DURATION", "Time after the start in which failed checks do not count"),
    text("health-start-interval", "", "DURATION", "Time between two checks during the start period (5s)"),
    switch("no-healthcheck", "", "Run no health check, not even the image's"),
)


def healthcheck(options: Options) -> dict[str, Any] | None:
    """Return the health check, None without flags.  Times are nanoseconds.  Raises UsageFault."""
    given = [name for name in ("health-cmd", "health-retries", *_TIMES) if options.given(name)]
    if options.on("no-healthcheck"):
        if given:
            raise UsageFault("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not given:
        return None
    check: dict[str, Any] = {field: _nanoseconds(options, name) for name, field in _TIMES.items()}
    retries = options.number("health-retries") or 0
    if retries < 0:
        raise UsageFault("--health-retries cannot be negative")
    command = options.text("health-cmd")
    return {**check, "Retries": retries, **({"Test": ["CMD-SHELL", command]} if command else {})}


def _nanoseconds(options: Options, name: str) -> int:
    value = options.text(name)
    if not value:
        return 0
    if value.startswith("-"):
        raise UsageFault(f"--{name} cannot be negative")
    try:
        return 0 if value == "0" else round(seconds_of_span(value) * 1e9)
    except ValueError as error:
        raise options.refuse(name, value, str(error)) from None
