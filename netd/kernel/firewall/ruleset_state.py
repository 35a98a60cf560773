"""What a firewall was last told to hold, in a form that a change is applied to at the change's own cost.  No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Set
from typing import TypeVar

from netd.common.addresses import Address, Family
from netd.portmap.rules import Ruleset, RulesetChange, forwards

T = TypeVar("T")
_NOTHING = Ruleset()


class RulesetState:
    def __init__(self, rules: Ruleset = _NOTHING) -> None:
        self._bridges = set(rules.bridges)
        self._published = set(rules.published)
        self._opened = set(rules.opened)
        self._over_budget = set(rules.over_budget)
        self._targets = Counter(one.target for one in rules.published)
        """How much of each container is published."""
        self.respect = rules.respect

    @property
    def forwards(self) -> frozenset[Family]:
        return forwards(self._bridges)

    def ruleset(self) -> Ruleset:
        """Return the whole, at its own cost."""
        return Ruleset(
            frozenset(self._bridges),
            frozenset(self._published),
            frozenset(self._opened),
            self.respect,
            frozenset(self._over_budget),
        )

    def real(self, change: RulesetChange) -> RulesetChange:
        """Return what is one of the change: only what is there goes, and only what is not there comes."""
        bridges = _real(self._bridges, change.removed.bridges, change.added.bridges)
        published = _real(self._published, change.removed.published, change.added.published)
        opened = _real(self._opened, change.removed.opened, change.added.opened)
        over_budget = _real(self._over_budget, change.removed.over_budget, change.added.over_budget)
        return RulesetChange(
            Ruleset(bridges[0], published[0], opened[0], over_budget=over_budget[0]),
            Ruleset(bridges[1], published[1], opened[1], over_budget=over_budget[1]),
        )

    def targets(self, change: RulesetChange) -> tuple[Collection[Address], Collection[Address]]:
        """Return the containers of which a real change leaves nothing published, and those that it is the first of."""
        turn = Counter(one.target for one in change.added.published)
        turn.subtract(Counter(one.target for one in change.removed.published))
        gone = [one for one, by in turn.items() if by < 0 and self._targets[one] + by == 0]
        return gone, [one for one, by in turn.items() if by > 0 and not self._targets[one]]

    def turn(self, change: RulesetChange) -> None:
        """Carry out a real change."""
        gone, come = change.removed, change.added
        _turn(self._bridges, gone.bridges, come.bridges)
        _turn(self._published, gone.published, come.published)
        _turn(self._opened, gone.opened, come.opened)
        _turn(self._over_budget, gone.over_budget, come.over_budget)
        self._targets.subtract(one.target for one in gone.published)
        self._targets.update(one.target for one in come.published)
        for one in {one.target for one in gone.published}:
            if not self._targets[one]:
                del self._targets[one]


def _real(there: Set[T], gone: frozenset[T], come: frozenset[T]) -> tuple[frozenset[T], frozenset[T]]:
    less = frozenset(one for one in gone - come if one in there)
    return less, frozenset(one for one in come if one not in there)


def _turn(there: set[T], gone: frozenset[T], come: frozenset[T]) -> None:
    there -= gone
    there |= come
