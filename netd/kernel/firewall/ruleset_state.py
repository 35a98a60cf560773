"""The ruleset that a firewall backend last applied, with changes applied at the cost of the change.  No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Set
from typing import TypeAlias, TypeVar

from netd.common.addresses import Family
from netd.portmap import nat_ports
from netd.portmap.rules import BridgeRules, Ruleset, RulesetChange, forwards

T = TypeVar("T")
PortKey: TypeAlias = tuple[int, str, int]
"""Family, protocol and host port."""
_EMPTY = Ruleset()


class RulesetState:
    def __init__(self, rules: Ruleset = _EMPTY) -> None:
        self._bridges = set(rules.bridges)
        self._published = set(rules.published)
        self._opened = set(rules.opened)
        self._over_budget = set(rules.over_budget)
        self._forwarding = Counter(family for bridge in rules.bridges for family in forwards((bridge,)))
        """Number of bridges that need IP forwarding, by family."""
        self._ports_at = Counter(port for rule in rules.published for port in nat_ports.single_ports(rule))
        """Number of rules by family, protocol and host port, without ranges at all addresses."""
        self.nat_ports = nat_ports.choose(rules.published)
        """The source ports of connections that cannot keep theirs."""
        self.respect = rules.respect

    @property
    def forwards(self) -> frozenset[Family]:
        return frozenset(family for family, bridges in self._forwarding.items() if bridges)

    @property
    def bridges(self) -> Set[BridgeRules]:
        return self._bridges

    def ruleset(self) -> Ruleset:
        """Return the whole ruleset; the cost depends on its size."""
        return Ruleset(
            frozenset(self._bridges),
            frozenset(self._published),
            frozenset(self._opened),
            self.respect,
            frozenset(self._over_budget),
        )

    def effective(self, change: RulesetChange) -> RulesetChange:
        """Drop removals of absent rules and additions of present rules."""
        bridges = _effective(self._bridges, change.removed.bridges, change.added.bridges)
        published = _effective(self._published, change.removed.published, change.added.published)
        opened = _effective(self._opened, change.removed.opened, change.added.opened)
        over_budget = _effective(self._over_budget, change.removed.over_budget, change.added.over_budget)
        return RulesetChange(
            Ruleset(bridges[0], published[0], opened[0], over_budget=over_budget[0]),
            Ruleset(bridges[1], published[1], opened[1], over_budget=over_budget[1]),
        )

    def ports_at(self, change: RulesetChange) -> tuple[Collection[PortKey], Collection[PortKey]]:
        """Return the host ports whose last rule an effective change removes, and those whose first rule it adds."""
        differences = Counter(port for rule in change.added.published for port in nat_ports.single_ports(rule))
        differences.subtract(
            Counter(port for rule in change.removed.published for port in nat_ports.single_ports(rule))
        )
        last = [port for port, by in differences.items() if by < 0 and self._ports_at[port] + by == 0]
        return last, [port for port, by in differences.items() if by > 0 and not self._ports_at[port]]

    def nat_ports_after(self, change: RulesetChange) -> nat_ports.Block:
        """Return the source ports that an effective change leads to."""
        if not nat_ports.overlaps(change.added.published, self.nat_ports):
            return self.nat_ports
        return nat_ports.choose((self._published - change.removed.published) | change.added.published)

    def apply(self, change: RulesetChange) -> None:
        """Apply an effective change."""
        removed, added = change.removed, change.added
        self.nat_ports = self.nat_ports_after(change)
        self._ports_at.subtract(port for rule in removed.published for port in nat_ports.single_ports(rule))
        self._ports_at.update(port for rule in added.published for port in nat_ports.single_ports(rule))
        self._forwarding.subtract(family for bridge in removed.bridges for family in forwards((bridge,)))
        self._forwarding.update(family for bridge in added.bridges for family in forwards((bridge,)))
        _apply(self._bridges, removed.bridges, added.bridges)
        _apply(self._published, removed.published, added.published)
        _apply(self._opened, removed.opened, added.opened)
        _apply(self._over_budget, removed.over_budget, added.over_budget)


def _effective(present: Set[T], removed: frozenset[T], added: frozenset[T]) -> tuple[frozenset[T], frozenset[T]]:
    removals = frozenset(rule for rule in removed - added if rule in present)
    return removals, frozenset(rule for rule in added if rule not in present)


def _apply(present: set[T], removed: frozenset[T], added: frozenset[T]) -> None:
    present -= removed
    present |= added
