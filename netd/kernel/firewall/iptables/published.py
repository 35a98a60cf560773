"""Chains for what is published, who may come to it, and what routed networks open.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import TypeVar

from netd.common.addresses import EVERY_IPV4, EVERY_IPV6, Address, Family, Subnet
from netd.common.errors import BadRequest
from netd.kernel.firewall.iptables.entry import Dnat, Rule
from netd.kernel.firewall.iptables.trees import Chains, by_destination, by_port, by_source
from netd.portmap.rules import Opened, Published

_PROTOCOLS = ("tcp", "udp", "sctp")
_EVERY = (EVERY_IPV4, EVERY_IPV6)
_DROP = Rule(then="DROP")
P = TypeVar("P", Published, Opened)


def published(chain: str, rules: Iterable[Published], family: Family) -> Chains:
    """Return *chain*, which leads what comes to a published port to its container."""
    return _by_protocol(chain, [_lead(one) for one in _of(rules, family)])


def asked(chain: str, rules: Iterable[Published], family: Family, then: Rule) -> Chains:
    """Return *chain*, which does *then* with what comes to a published port."""
    return _by_protocol(chain, [_at(one, then) for one in _of(rules, family)])


def guards(chain: str, rules: Iterable[Published], family: Family) -> Chains:
    """Return *chain*, which drops what may not come to a published port; nothing when everybody may everywhere."""
    guarded = _of((one for one in rules if one.allow), family)
    if not guarded:
        return {}
    chains: Chains = {}
    checks = []
    for one in guarded:
        allowed = _collapsed(one.allow, family)
        name = f"{chain}-{hashlib.sha256(repr(allowed).encode()).hexdigest()[:8]}"
        chains |= by_source(name, (Rule(then="RETURN", source=net) for net in allowed), otherwise=_DROP)
        checks.append(_at(one, Rule(then=name, goto=True)))
    return chains | _by_protocol(chain, checks)


def opened(chain: str, rules: Iterable[Opened], family: Family) -> Chains:
    """Return *chain*, which comes back for what may be reached at a container's own address, and drops the rest."""
    by_target: dict[Address, list[Rule]] = {}
    for one in _of(rules, family):
        span = (one.target_port, one.target_port + one.count - 1)
        free = Rule(then="RETURN", protocol=one.protocol, ports=span)
        sources: Sequence[Subnet | None] = _collapsed(one.allow, family) if one.allow else [None]
        by_target.setdefault(one.target, []).extend(replace(free, source=source) for source in sources)
    chains: Chains = {}
    targets = []
    for place, target in enumerate(sorted(by_target, key=int)):
        name = f"{chain}-{place}"
        targets.append(Rule(then=name, goto=True, destination=ip_network(target)))
        chains |= _by_protocol(name, by_target[target], otherwise=_DROP)
    return chains | by_destination(chain, targets, otherwise=_DROP)


def _of(rules: Iterable[P], family: Family) -> list[P]:
    """Return those of the family, in an order that is always the same, having checked them."""
    found = []
    for one in rules:
        if one.protocol not in _PROTOCOLS:
            raise BadRequest(f"protocol {one.protocol!r} cannot be published: use tcp, udp or sctp")
        if isinstance(one, Published) and one.address.version != one.target.version:
            raise BadRequest(f"{one.target} cannot be published at {one.address}: they are of different families")
        if one.target.version == family:
            found.append(one)
    return sorted(found, key=_order)


def _order(one: Published | Opened) -> tuple[object, ...]:
    """What is published at one address comes before what is published at every."""
    if isinstance(one, Published):
        return -int(one.address), one.port, int(one.target), one.target_port, one.count
    return int(one.target), one.target_port, one.count, one.protocol, repr(one.allow) if one.allow else ""


@lru_cache(1 << 14)
def _lead(one: Published) -> Rule:
    if one.port == one.target_port:
        there = Dnat(one.target, None if one.count > 1 else one.target_port)
    else:
        there = Dnat(one.target, one.target_port, one.count, one.port)
    return _at(one, Rule(then=there))


def _at(one: Published, rule: Rule) -> Rule:
    """Return the rule for the address and ports where it is published."""
    where = None if one.address in _EVERY else ip_network(one.address)
    ports = (one.port, one.port + one.count - 1)
    return Rule(then=rule.then, goto=rule.goto, destination=where, protocol=one.protocol, ports=ports)


def _by_protocol(chain: str, rules: Iterable[Rule], otherwise: Rule | None = None) -> Chains:
    chains: Chains = {chain: []}
    for protocol in _PROTOCOLS:
        if of_it := [rule for rule in rules if rule.protocol == protocol]:
            below = f"{chain}-{protocol}"
            chains[chain].append(Rule(then=below, goto=True, protocol=protocol))
            chains |= by_port(below, of_it, otherwise)
    chains[chain] += [otherwise] if otherwise else []
    return chains


def _collapsed(allow: Iterable[Subnet], family: Family) -> Sequence[Subnet]:
    if family == 4:
        return [*collapse_addresses(net for net in allow if isinstance(net, IPv4Network))]
    return [*collapse_addresses(net for net in allow if isinstance(net, IPv6Network))]
