"""Repairs without effect are tried again after growing delays; others are made at once."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

from netd.engine.reconcile.convergence import FIRST_DELAY, MAX_DELAY, Convergence, differences
from netd.facts import Bridge, Step, Verb

WANTED = Bridge(name="nd-a", addresses=(ip_interface("10.1.0.1/24"),), mtu=1500, localnet=True)
BROKEN = Step(Verb.SET, WANTED, replace(WANTED, faults=("route 10.1.0.0/24",)))
OTHER = Step(Verb.ADD, replace(WANTED, name="nd-b"))


def attempt(
    convergence: Convergence, now: float, *planned: Step, left: tuple[Step, ...]
) -> tuple[list[Step], list[Step]]:
    """Return the steps that were tried and those reported as without effect."""
    tried = list(convergence.due(planned, now))
    reported = list(convergence.without_effect(tried, left, now)) if convergence.repeated(tried) else []
    return tried, reported


def test_a_step_without_effect_is_reported_once_and_delayed_longer_and_longer() -> None:
    convergence = Convergence()
    assert attempt(convergence, 0, BROKEN, left=(BROKEN,)) == ([BROKEN], [])
    assert attempt(convergence, 1, BROKEN, left=(BROKEN,)) == ([BROKEN], [BROKEN])
    now, delay = 1.0, FIRST_DELAY
    for _ in range(8):
        assert convergence.next_due() == now + delay
        assert attempt(convergence, now + delay - 0.1, BROKEN, OTHER, left=()) == ([OTHER], [])
        now += delay
        assert attempt(convergence, now, BROKEN, left=(BROKEN,)) == ([BROKEN], [])
        delay = min(2 * delay, MAX_DELAY)
    assert delay == MAX_DELAY


def test_damage_that_is_repeated_and_repaired_each_time_is_never_delayed() -> None:
    convergence = Convergence()
    for now in range(10):
        assert attempt(convergence, now, BROKEN, left=()) == ([BROKEN], [])
    assert convergence.next_due() is None


def test_another_difference_of_a_delayed_object_is_repaired_at_once() -> None:
    convergence = Convergence()
    for now in range(2):
        attempt(convergence, now, BROKEN, left=(BROKEN,))
    worse = Step(Verb.SET, WANTED, replace(WANTED, mtu=0))
    assert attempt(convergence, 2, worse, left=()) == ([worse], [])
    assert convergence.next_due() is None


def test_differences_name_what_differs() -> None:
    assert differences(BROKEN) == "route 10.1.0.0/24"
    found = replace(WANTED, addresses=(), mtu=0)
    assert differences(Step(Verb.SET, WANTED, found)) == (
        "addresses is none, must be 10.1.0.1/24; mtu is 0, must be 1500"
    )
    assert differences(OTHER) == ""
