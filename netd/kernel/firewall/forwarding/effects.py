"""Whether a chain of another program can do anything to packets of which only a part is known.  Pure.

The counterpart of ``chains.outcome``: a condition that is not known may hold, so nothing is overlooked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netd.kernel.firewall.forwarding.chains import ForeignRule, ForwardChain, Packet

_ENDS = ("drop", "reject", "queue")
_DEEPEST = 64


class EffectSearch:
    """A search in one base chain; *rules* returns the rules of a chain of its table."""

    def __init__(
        self, base: ForwardChain, rules: Callable[[str], Sequence[ForeignRule]], matters: Callable[[ForeignRule], bool]
    ) -> None:
        """*matters* tells whether the verdict or the effect of a rule is searched for."""
        self._base = base
        self._rules = rules
        self._matters = matters
        self._falls: dict[str, bool] = {}
        """Whether packets may pass a chain to its end, or return from it, by the names of chains without effects."""

    def place(self, packet: Packet) -> str:
        """Return the rule or policy that may have an effect on the packet; "" if there is none."""
        self._falls = {}
        try:
            if self._visit(self._base.name, packet, 0) and self._matters(ForeignRule(verdict=self._base.policy)):
                return "policy"
        except _FoundError as found:
            return found.place
        return ""

    def _visit(self, name: str, packet: Packet, depth: int) -> bool:
        """Return whether packets may pass the chain to its end."""
        if name in self._falls:
            return self._falls[name]
        if depth > _DEEPEST:
            raise _FoundError(f"chain {name}, which is nested too deeply")
        self._falls[name] = self._visit_rules(name, packet, depth)
        return self._falls[name]

    def _visit_rules(self, name: str, packet: Packet, depth: int) -> bool:
        returns = False
        for position, rule in enumerate(self._rules(name), 1):
            results = {test.holds(packet) for test in rule.tests}
            if False in results:
                continue
            if self._matters(rule):
                raise _FoundError(f"rule {position} of chain {name}")
            certain = None not in results
            goes_on, comes_back = self._leaves(rule, packet, depth)
            returns = returns or comes_back
            if certain and not goes_on:
                return returns
        return True

    def _leaves(self, rule: ForeignRule, packet: Packet, depth: int) -> tuple[bool, bool]:
        """Return whether the rule lets packets continue with the next rule, and with the calling chain."""
        match rule.verdict:
            case "accept" | "drop" | "reject" | "queue":
                return False, False
            case "return":
                return False, True
            case "jump":
                return self._visit(rule.target, packet, depth + 1), False
            case "goto":
                return False, self._visit(rule.target, packet, depth + 1)
        return True, False


class _FoundError(Exception):
    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


def has_effect(rule: ForeignRule) -> bool:
    """Return whether the rule drops packets, hands them to a program, or changes or reports them."""
    return rule.verdict in _ENDS or bool(rule.effect)
