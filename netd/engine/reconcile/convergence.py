"""Repairs without effect: steps that leave an object as it was are delayed, longer after each attempt.  Pure.

Without that, a kernel that accepts a step and ignores it would be repaired several times per second for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from netd.facts import Fact, Step

FIRST_DELAY, MAX_DELAY = 5.0, 300.0
"""Seconds until a step without effect is tried again: at first, and at most; the delay doubles after each attempt."""
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Failed:
    step: Step
    delay: float
    due: float


class Convergence:
    def __init__(self) -> None:
        self._failed: dict[Key, _Failed] = {}
        self._last: dict[Key, Step] = {}

    def due(self, steps: Iterable[Step], now: float) -> tuple[Step, ...]:
        """Return the steps that may be tried now.  A step for another difference of the same object is due at once."""
        planned = {step.fact.key: step for step in steps}
        self._failed = {key: found for key, found in self._failed.items() if planned.get(key) == found.step}
        return tuple(step for key, step in planned.items() if key not in self._failed or self._failed[key].due <= now)

    def repeated(self, steps: Iterable[Step]) -> bool:
        """Return whether a step was delayed or equals one of the previous call, so that its effect must be checked."""
        planned = {step.fact.key: step for step in steps}
        found = any(key in self._failed or self._last.get(key) == step for key, step in planned.items())
        self._last = planned
        return found

    def without_effect(self, tried: Iterable[Step], left: Iterable[Step], now: float) -> Sequence[Step]:
        """Delay the steps that were *tried* and are still *left*; return those that were not delayed before."""
        remaining = {step.fact.key: step for step in left}
        new = []
        for step in tried:
            key = step.fact.key
            if remaining.get(key) != step:
                self._failed.pop(key, None)
                continue
            before = self._failed.get(key)
            if before is None:
                new.append(step)
            delay = min(2 * before.delay, MAX_DELAY) if before else FIRST_DELAY
            self._failed[key] = _Failed(step, delay, now + delay)
        return new

    def next_due(self) -> float | None:
        """Return the time of the next attempt; None if no step is delayed."""
        return min((found.due for found in self._failed.values()), default=None)


def differences(step: Step) -> str:
    """Return the fields that a step changes, with the found and the desired value."""
    if step.previous is None or type(step.previous) is not type(step.fact):
        return ""
    names = (field.name for field in fields(step.fact) if field.compare)
    changed = [name for name in names if getattr(step.fact, name) != getattr(step.previous, name)]
    return "; ".join(_difference(step.fact, step.previous, name) for name in changed)


def _difference(wanted: Fact, found: Fact, name: str) -> str:
    value = getattr(found, name)
    if name == "faults":
        return ", ".join(value)
    return f"{name} is {_text(value)}, must be {_text(getattr(wanted, name))}"


def _text(value: object) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
