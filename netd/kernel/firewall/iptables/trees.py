"""Chains in which a packet finds its rule by a few comparisons, however many there are: legacy tables know no maps.

Pure.  Rules beyond a handful go to chains of their own, which are chosen by a range of ports, a prefix of the links'
names or a supernet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeAlias

from netd.common.addresses import Subnet
from netd.kernel.firewall.iptables.entry import Rule

Chains: TypeAlias = dict[str, list[Rule]]
_HANDFUL = 8
LONGEST_NAME = 28
"""Of a chain; the kernel's limit."""
_DIGITS = 2
"""Of the number of a chain among those that are chosen between."""
_STEP = 4
"""Bits of addresses that are told apart in one chain."""


def by_port(chain: str, rules: Iterable[Rule], otherwise: Rule | None = None) -> Chains:
    """Return *chain* and those below it; each rule has ports, and the same protocol as the others.

    Of two rules for one port the earlier holds.  *otherwise* is for what fits none.
    """
    ordered = sorted(rules, key=_ports)
    chains: Chains = {}
    _split_ports(chain, ordered, [otherwise] if otherwise else [], chains)
    return chains


def _ports(rule: Rule) -> tuple[int, int]:
    assert rule.ports
    return rule.ports


def _split_ports(chain: str, rules: Sequence[Rule], tail: list[Rule], chains: Chains) -> None:
    blocks = _blocks(rules) if len(rules) > _HANDFUL and _has_room(chain) else []
    if len(blocks) < 2:
        chains[chain] = [*rules, *tail]
        return
    chains[chain] = []
    for place, block in enumerate(blocks):
        below = f"{chain}.{place}"
        span = block[0].ports[0] if block[0].ports else 0, max(_ports(rule)[1] for rule in block)
        chains[chain].append(Rule(then=below, goto=True, protocol=block[0].protocol, ports=span))
        _split_ports(below, block, tail, chains)
    chains[chain] += tail


def _blocks(rules: Sequence[Rule]) -> list[Sequence[Rule]]:
    """Cut into at most about a handful, only where no rule's ports are on both sides."""
    size = -(-len(rules) // _HANDFUL)
    blocks, start, last = [], 0, -1
    for place, rule in enumerate(rules):
        if place - start >= size and _ports(rule)[0] > last:
            blocks.append(rules[start:place])
            start = place
        last = max(last, _ports(rule)[1])
    return [*blocks, rules[start:]]


def by_link(chain: str, rules: Iterable[Rule], *, out: bool) -> Chains:
    """Return *chain* and those below it; each rule is for one link, by which a packet comes in, or goes *out*."""

    def name(rule: Rule) -> str:
        return rule.outgoing if out else rule.incoming

    chains: Chains = {}
    _split_links(chain, sorted(rules, key=name), "", name, chains)
    return chains


def _split_links(chain: str, rules: Sequence[Rule], prefix: str, name: Callable[[Rule], str], chains: Chains) -> None:
    if len(rules) <= _HANDFUL or not _has_room(chain):
        chains[chain] = list(rules)
        return
    chains[chain] = []
    for place, (_, group) in enumerate(groupby(rules, key=lambda rule: name(rule)[: len(prefix) + 1])):
        block = list(group)
        head = _shared(name(block[0]), name(block[-1]))
        if len(block) == 1 or head == prefix:
            chains[chain] += block
            continue
        below, choice, start = f"{chain}.{place}", Rule(then=f"{chain}.{place}", goto=True), f"{head}+"
        out = bool(block[0].outgoing)
        chains[chain].append(replace(choice, outgoing=start) if out else replace(choice, incoming=start))
        _split_links(below, block, head, name, chains)


def _shared(first: str, last: str) -> str:
    """Return how the names between these two, in their order, all begin."""
    same = next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), None)
    return first[: min(len(first), len(last)) if same is None else same]


def _has_room(chain: str) -> bool:
    """Whether the names of chains below it are short enough for the kernel."""
    return len(chain) + 1 + _DIGITS <= LONGEST_NAME


def by_source(chain: str, rules: Iterable[Rule], otherwise: Rule | None = None) -> Chains:
    """Return *chain* and those below it; each rule is for a subnet to come from, none of which is in another."""
    placed = [(rule.source, rule) for rule in rules if rule.source]
    return _by_subnet(chain, placed, "source", otherwise)


def by_destination(chain: str, rules: Iterable[Rule], otherwise: Rule | None = None) -> Chains:
    """The same for subnets to go to."""
    placed = [(rule.destination, rule) for rule in rules if rule.destination]
    return _by_subnet(chain, placed, "destination", otherwise)


Placed: TypeAlias = Sequence[tuple[Subnet, Rule]]


def _by_subnet(chain: str, rules: Placed, end: str, otherwise: Rule | None) -> Chains:
    chains: Chains = {}
    ordered = sorted(rules, key=lambda one: (int(one[0].network_address), one[0].prefixlen))
    _split_subnets(chain, ordered, end, [otherwise] if otherwise else [], chains)
    return chains


def _split_subnets(chain: str, rules: Placed, end: str, tail: list[Rule], chains: Chains) -> None:
    depth = _common(rules) + _STEP if rules else 0
    groups = [(cover, list(group)) for cover, group in groupby(rules, key=lambda one: _cover(one[0], depth))]
    if len(rules) <= _HANDFUL or len(groups) < 2 or not _has_room(chain):
        chains[chain] = [rule for _, rule in rules] + tail
        return
    chains[chain] = []
    for place, (cover, block) in enumerate(groups):
        if len(block) == 1:
            chains[chain].append(block[0][1])
            continue
        below = f"{chain}.{place}"
        choice = Rule(then=below, goto=True)
        chains[chain].append(replace(choice, source=cover) if end == "source" else replace(choice, destination=cover))
        _split_subnets(below, block, end, tail, chains)
    chains[chain] += tail


def _common(rules: Placed) -> int:
    """Return how many leading bits the addresses of all have in common."""
    first, last = rules[0][0], rules[-1][0]
    differing = int(first.network_address) ^ int(last.network_address)
    return first.max_prefixlen - differing.bit_length()


def _cover(subnet: Subnet, depth: int) -> Subnet:
    return subnet.supernet(new_prefix=depth) if depth < subnet.prefixlen else subnet
