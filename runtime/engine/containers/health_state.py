"""What the results of health checks mean.

Pure: the checks themselves are run by :mod:`runtime.engine.lifecycle.health`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from runtime.container_config import Config

Verdict = Literal["starting", "healthy", "unhealthy"]

_SECOND = 10**9
_INTERVAL, _TIMEOUT, _START_INTERVAL, _RETRIES = 30.0, 30.0, 5.0, 3
_SHELL = ["/bin/sh", "-c"]
_KEPT, _LONGEST = 5, 4096


@dataclass(frozen=True, slots=True)
class Result:
    """One check: when it ran (RFC 3339), its exit code (-1 when it did not end in time) and what it said."""

    start: str
    end: str
    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    verdict: Verdict = "starting"
    streak: int = 0
    """Failures since the last success."""
    results: tuple[Result, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthcheckPlan:
    """A health check with its defaults filled in; times in seconds."""

    argv: list[str]
    interval: float
    timeout: float
    start_period: float
    start_interval: float
    retries: int

    def pause(self, health: Health, age: float) -> float:
        """Return how long to wait before the next check of a container of this age."""
        return self.start_interval if health.verdict == "starting" and age < self.start_period else self.interval


def plan(config: Config) -> HealthcheckPlan | None:
    """Return what to do for a container; None when it has no health check."""
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


def judge(health: Health, result: Result, plan: HealthcheckPlan, age: float) -> Health:
    """Return the health after *result*, which came when the container was *age* seconds old.

    Failures do not count while the start period lasts and no check has succeeded.
    """
    kept = replace(result, output=result.output[:_LONGEST])
    results = (*health.results, kept)[-_KEPT:]
    if result.code == 0:
        return Health("healthy", 0, results)
    if health.verdict == "starting" and age < plan.start_period:
        return replace(health, results=results)
    streak = health.streak + 1
    return Health("unhealthy" if streak >= plan.retries else health.verdict, streak, results)


def _seconds(nanoseconds: int, default: float) -> float:
    return nanoseconds / _SECOND if nanoseconds else default
