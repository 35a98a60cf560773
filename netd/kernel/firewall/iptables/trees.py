"""Trees of chains, in which a packet reaches its rule by a few comparisons: legacy tables have no maps.

Pure.  More rules than fit in one chain are split into further chains, selected by a range of ports, a prefix of the
links' names or a supernet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeAlias

from netd.common.addresses import Subnet
from netd.kernel.firewall.iptables.entry import Rule

Chains: TypeAlias = dict[str, list[Rule]]
_MAX_RULES = 8
"""Of a chain, before it is split."""
MAX_NAME = 28
"""Characters in the name of a chain; the kernel's limit."""
_DIGITS = 2
"""Digits of the number that is appended to the name of a chain below."""
_ADDRESS_BITS = 4
"""Address bits that one chain distinguishes."""


def by_port(chain: str, rules: Iterable[Rule], otherwise: Rule | None = None) -> Chains:
    """Return *chain* and the chains below it, for rules with destination or source ports and of the same protocol.

    Of two rules for the same port the earlier applies.  *otherwise* applies to packets that match no rule.
    """
    ordered = sorted(rules, key=_ports)
    chains: Chains = {}
    _split_ports(chain, ordered, [otherwise] if otherwise else [], chains)
    return chains


def _ports(rule: Rule) -> tuple[int, int]:
    ports = rule.ports or rule.source_ports
    assert ports
    return ports


def _split_ports(chain: str, rules: Sequence[Rule], tail: list[Rule], chains: Chains) -> None:
    blocks = _blocks(rules) if len(rules) > _MAX_RULES and _can_split(chain) else []
    if len(blocks) < 2:
        chains[chain] = [*rules, *tail]
        return
    chains[chain] = []
    for number, block in enumerate(blocks):
        below = f"{chain}.{number}"
        span = _ports(block[0])[0], max(_ports(rule)[1] for rule in block)
        jump = Rule(target=below, goto=True, protocol=block[0].protocol)
        chains[chain].append(replace(jump, ports=span) if block[0].ports else replace(jump, source_ports=span))
        _split_ports(below, block, tail, chains)
    chains[chain] += tail


def _blocks(rules: Sequence[Rule]) -> list[Sequence[Rule]]:
    """Split into about ``_MAX_RULES`` blocks, only where no rule's ports would be in two blocks."""
    size = -(-len(rules) // _MAX_RULES)
    blocks, start, last = [], 0, -1
    for position, rule in enumerate(rules):
        if position - start >= size and _ports(rule)[0] > last:
            blocks.append(rules[start:position])
            start = position
        last = max(last, _ports(rule)[1])
    return [*blocks, rules[start:]]


def by_link(chain: str, rules: Iterable[Rule], *, out: bool) -> Chains:
    """Return *chain* and the chains below it, for rules with an incoming link each, or with *out* an outgoing link."""

    def name(rule: Rule) -> str:
        return rule.outgoing if out else rule.incoming

    chains: Chains = {}
    _split_links(chain, sorted(rules, key=name), "", name, chains)
    return chains


def _split_links(chain: str, rules: Sequence[Rule], prefix: str, name: Callable[[Rule], str], chains: Chains) -> None:
    if len(rules) <= _MAX_RULES or not _can_split(chain):
        chains[chain] = list(rules)
        return
    chains[chain] = []
    for number, (_, group) in enumerate(groupby(rules, key=lambda rule: name(rule)[: len(prefix) + 1])):
        block = list(group)
        head = _common_prefix(name(block[0]), name(block[-1]))
        if len(block) == 1 or head == prefix:
            chains[chain] += block
            continue
        below, pattern = f"{chain}.{number}", f"{head}+"
        jump, out = Rule(target=below, goto=True), bool(block[0].outgoing)
        chains[chain].append(replace(jump, outgoing=pattern) if out else replace(jump, incoming=pattern))
        _split_links(below, block, head, name, chains)


def _common_prefix(first: str, last: str) -> str:
    """Return the common prefix of all names between these two in sorted order."""
    letters = enumerate(zip(first, last, strict=False))
    length = next((position for position, (left, right) in letters if left != right), None)
    return first[: min(len(first), len(last)) if length is None else length]


def _can_split(chain: str) -> bool:
    """Return whether the names of chains below *chain* are within the kernel's limit."""
    return len(chain) + 1 + _DIGITS <= MAX_NAME


def by_source(chain: str, rules: Iterable[Rule], otherwise: Rule | None = None) -> Chains:
    """Return *chain* and the chains below it, for rules with a source subnet each; the subnets must not overlap."""
    keyed = [(rule.source, rule) for rule in rules if rule.source]
    return _by_subnet(chain, keyed, "source", otherwise)


def by_destination(chain: str, rules: Iterable[Rule], otherwise: Rule | None = None) -> Chains:
    """Return *chain* and the chains below it, for rules with a destination subnet each."""
    keyed = [(rule.destination, rule) for rule in rules if rule.destination]
    return _by_subnet(chain, keyed, "destination", otherwise)


KeyedRules: TypeAlias = Sequence[tuple[Subnet, Rule]]
"""Rules with the subnet that they match."""


def _by_subnet(chain: str, rules: KeyedRules, end: str, otherwise: Rule | None) -> Chains:
    chains: Chains = {}
    ordered = sorted(rules, key=lambda keyed: (int(keyed[0].network_address), keyed[0].prefixlen))
    _split_subnets(chain, ordered, end, [otherwise] if otherwise else [], chains)
    return chains


def _split_subnets(chain: str, rules: KeyedRules, end: str, tail: list[Rule], chains: Chains) -> None:
    length = _common_bits(rules) + _ADDRESS_BITS if rules else 0
    groups = [(cover, list(group)) for cover, group in groupby(rules, key=lambda keyed: _supernet(keyed[0], length))]
    if len(rules) <= _MAX_RULES or len(groups) < 2 or not _can_split(chain):
        chains[chain] = [rule for _, rule in rules] + tail
        return
    chains[chain] = []
    for number, (cover, block) in enumerate(groups):
        if len(block) == 1:
            chains[chain].append(block[0][1])
            continue
        below = f"{chain}.{number}"
        jump = Rule(target=below, goto=True)
        chains[chain].append(replace(jump, source=cover) if end == "source" else replace(jump, destination=cover))
        _split_subnets(below, block, end, tail, chains)
    chains[chain] += tail


def _common_bits(rules: KeyedRules) -> int:
    """Return the number of leading bits that all addresses have in common."""
    first, last = rules[0][0], rules[-1][0]
    differing = int(first.network_address) ^ int(last.network_address)
    return first.max_prefixlen - differing.bit_length()


def _supernet(subnet: Subnet, length: int) -> Subnet:
    return subnet.supernet(new_prefix=length) if length < subnet.prefixlen else subnet
