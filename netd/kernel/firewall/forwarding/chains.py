"""Chains of other programs as values, and what they do with a packet.  Pure.

A packet is known in part: links, addresses, mark, state of its connection.  A rule that tests anything else is skipped,
so the outcome is that of packets to which no special rule applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Literal, TypeAlias

from netd.common.addresses import Address

Kind: TypeAlias = Literal["nftables", "iptables-legacy"]
Value: TypeAlias = str | tuple[int, int] | IPv4Network | IPv6Network
"""A name, whose final * stands for any characters; a mask and the value of the masked mark; a network."""
Known: TypeAlias = str | int | Address | IPv4Network | IPv6Network | frozenset[str]


@dataclass(frozen=True, slots=True)
class Among:
    """A field of packets of several kinds: it has one of these values; a network stands for each of its addresses."""

    values: tuple[Known, ...]


Packet: TypeAlias = Mapping[str, Known | Among]
"""What is known of a packet, by the field's name in nftables: ``iifname``, ``saddr``, ``mark``, ``state``, …"""

COMMENT = "netd: admitted by the rules of netd"
"""The comment by which netd knows its rules in chains of other programs."""
_DROPS = ("drop", "reject")
_MAX_STEPS = 100_000


@dataclass(frozen=True, slots=True)
class Test:
    """A condition of a rule: the field has one of the values.  Without values, the condition is not known."""

    field: str
    values: tuple[Value, ...] = ()
    negated: bool = False

    def holds(self, packet: Packet) -> bool | None:
        """Return whether the packet satisfies the condition; None if that is not known."""
        found = packet.get(self.field)
        if found is None or not self.values:
            return None
        outcomes = {self._holds_for(value) for value in (found.values if isinstance(found, Among) else (found,))}
        return outcomes.pop() if len(outcomes) == 1 else None

    def _holds_for(self, found: Known) -> bool | None:
        results = {_is(found, value) for value in self.values}
        if True in results:
            return not self.negated
        return None if None in results else self.negated


UNKNOWN = Test("")


def _is(found: Known, value: Value) -> bool | None:
    """Return whether *found* is a value of a condition; None if that holds for a part of a network only."""
    match found, value:
        case (IPv4Network(), IPv4Network()) | (IPv6Network(), IPv6Network()):
            return _is_in(found, value)
        case frozenset(), str():
            return value in found
        case str(), str():
            return found.startswith(value[:-1]) if value.endswith("*") else found == value
        case int(), (mask, wanted):
            return found & mask == wanted
        case _, IPv4Network() | IPv6Network():
            return isinstance(found, IPv4Address | IPv6Address) and found in value
    return False


def _is_in(found: Any, value: Any) -> bool | None:
    if found.subnet_of(value):
        return True
    return None if found.overlaps(value) else False


@dataclass(frozen=True, slots=True)
class ForeignRule:
    tests: tuple[Test, ...] = ()
    verdict: str = ""
    """accept, drop, reject, queue, return, jump or goto; empty: the next rule follows."""
    target: str = ""
    """The chain of a jump or goto."""
    handle: int = 0
    """The number of the rule in nftables."""
    own: bool = False
    """Whether netd added the rule."""
    effect: str = ""
    """What the rule does besides its verdict and counting: the name of a statement or of an extension target."""
    leads_to: IPv4Network | IPv6Network | None = None
    """The addresses to which the rule translates destinations, where they are constant."""


@dataclass(frozen=True, slots=True)
class ForwardChain:
    """A base chain, with the chains of its table that its rules may jump to."""

    kind: Kind
    family: str
    """ip, ip6, inet or bridge."""
    table: str
    name: str
    priority: int = 0
    policy: str = "accept"
    chains: Mapping[str, tuple[ForeignRule, ...]] = field(default_factory=dict)
    hook: str = "forward"
    """prerouting, forward or postrouting."""

    def __str__(self) -> str:
        if self.kind == "nftables":
            return f"{self.family} {self.table} {self.name}"
        return f"{self.family}tables-legacy {self.table} {self.name}"

    @property
    def own_rules(self) -> list[ForeignRule]:
        return [rule for rule in self.chains.get(self.name, ()) if rule.own]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a chain does with a packet."""

    verdict: str
    place: str
    """The rule or policy that decides, for people: ``policy``, ``rule 3 of chain X``."""

    @property
    def drops(self) -> bool:
        return self.verdict in _DROPS


def outcome(chain: ForwardChain, packet: Packet, *, without_own: bool = False) -> Outcome:
    """Return the verdict of the chain; *without_own* skips the rules of netd."""
    stack = [(chain.name, 0)]
    for _ in range(_MAX_STEPS):
        if not stack:
            break
        name, position = stack.pop()
        rules = chain.chains.get(name, ())
        if position >= len(rules):
            continue
        rule = rules[position]
        if (without_own and rule.own) or not all(test.holds(packet) for test in rule.tests):
            stack.append((name, position + 1))
        elif rule.verdict in ("accept", "queue", *_DROPS):
            return Outcome(rule.verdict, f"rule {position + 1} of chain {name}")
        elif rule.verdict == "goto":
            stack.append((rule.target, 0))
        elif rule.verdict != "return":
            stack.append((name, position + 1))
            if rule.verdict == "jump":
                stack.append((rule.target, 0))
    return Outcome(chain.policy, "policy")
