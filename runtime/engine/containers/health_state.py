"""Health states: how the results of health checks change them.

Pure: :mod:`runtime.engine.lifecycle.health` runs the checks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from runtime.container_config import Config

HealthStatus = Literal["starting", "healthy", "unhealthy"]

_SECOND = 10**9
_INTERVAL, _TIMEOUT, _START_INTERVAL, _RETRIES = 30.0, 30.0, 5.0, 3
_SHELL = ["/bin/sh", "-c"]
_MAX_RESULTS, _MAX_OUTPUT = 5, 4096


@dataclass(frozen=True, slots=True)
class Result:
    """One check: its times (RFC 3339), its exit code (-1 if it timed out or could not be started) and its output."""

    start: str
    end: str
    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    status: HealthStatus = "starting"
    failing_streak: int = 0
    """Failures since the last success."""
    results: tuple[Result, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthcheckPlan:
    """A health check with defaults applied; times in seconds."""

    argv: list[str]
    interval: float
    timeout: float
    start_period: float
    start_interval: float
    retries: int

    def delay(self, health: Health, age: float) -> float:
        """Return the delay before the next check of a container that has run for *age* seconds."""
        return self.start_interval if health.status == "starting" and age < self.start_period else self.interval


def plan(config: Config) -> HealthcheckPlan | None:
    """Return the health check of a container, None if it has none."""
    check = config.healthcheck
    if check is None or not check.test or check.test[0] == "NONE":
        return None
    kind, *words = check.test
    return HealthcheckPlan(
        argv=[*(config.shell or _SHELL), *words] if kind == "CMD-SHELL" else words,
        interval=_seconds(check.interval, _INTERVAL),
        timeout=_seconds(check.timeout, _TIMEOUT),
        start_period=check.start_period / _SECOND,
        start_interval=_seconds(check.start_interval, _START_INTERVAL),
        retries=check.retries or _RETRIES,
    )


def after_check(health: Health, result: Result, plan: HealthcheckPlan, age: float) -> Health:
    """Return the health after *result*, of a container that has run for *age* seconds.

    During the start period, failures are ignored until a check has succeeded.
    """
    shortened = replace(result, output=result.output[:_MAX_OUTPUT])
    results = (*health.results, shortened)[-_MAX_RESULTS:]
    if result.code == 0:
        return Health("healthy", 0, results)
    if health.status == "starting" and age < plan.start_period:
        return replace(health, results=results)
    failing_streak = health.failing_streak + 1
    return Health("unhealthy" if failing_streak >= plan.retries else health.status, failing_streak, results)


def _seconds(nanoseconds: int, default: float) -> float:
    return nanoseconds / _SECOND if nanoseconds else default
