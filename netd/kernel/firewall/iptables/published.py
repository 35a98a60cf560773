"""Chains for published ports, their allowed sources, and the open ports of routed networks.  Pure."""

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
from netd.portmap import nat_ports
from netd.portmap.rules import Opened, Published

PROTOCOLS_WITH_PORTS = ("tcp", "udp", "sctp")
_EVERY = (EVERY_IPV4, EVERY_IPV6)
_DROP = Rule(target="DROP")
P = TypeVar("P", Published, Opened)


def published(chain: str, rules: Iterable[Published], family: Family) -> Chains:
    """Return *chain*, which translates packets to a published port to its container."""
    return _by_protocol(chain, [_dnat_rule(rule) for rule in _sorted(rules, family)])


def on_published(chain: str, rules: Iterable[Published], family: Family, action: Rule) -> Chains:
    """Return *chain*, which applies the target of *action* to packets to a published port."""
    return _by_protocol(chain, [_matching(rule, action) for rule in _sorted(rules, family)])


def source_ports(chain: str, rules: Iterable[Published], family: Family, target: str) -> Chains:
    """Return *chain*, which passes packets from a port that another container has published to *target*-PROTOCOL.

    {} if no port is published where source NAT could take it.
    """
    found = []
    for rule in _sorted(filter(nat_ports.clashes, rules), family):
        ports = (rule.port, rule.port + rule.count - 1)
        clashing = Rule(target=f"{target}-{rule.protocol}", goto=True, protocol=rule.protocol, source_ports=ports)
        if nat_ports.is_own(rule):
            found.append(replace(clashing, target="RETURN", goto=False, source=ip_network(rule.target)))
        found.append(clashing)
    return _by_protocol(chain, found) if found else {}


def source_checks(chain: str, rules: Iterable[Published], family: Family) -> Chains:
    """Return *chain*, which drops packets to published ports from sources not allowed; {} if no rule restricts them."""
    restricted = _sorted((rule for rule in rules if rule.allow), family)
    if not restricted:
        return {}
    chains: Chains = {}
    checks = []
    for rule in restricted:
        allowed = _collapsed(rule.allow, family)
        name = f"{chain}-{hashlib.sha256(repr(allowed).encode()).hexdigest()[:8]}"
        chains |= by_source(name, (Rule(target="RETURN", source=net) for net in allowed), otherwise=_DROP)
        checks.append(_matching(rule, Rule(target=name, goto=True)))
    return chains | _by_protocol(chain, checks)


def opened(chain: str, rules: Iterable[Opened], family: Family) -> Chains:
    """Return *chain*, which returns for packets to open ports of containers' own addresses, and drops all others."""
    by_target: dict[Address, list[Rule]] = {}
    for rule in _sorted(rules, family):
        span = (rule.target_port, rule.target_port + rule.count - 1)
        accepted = Rule(target="RETURN", protocol=rule.protocol, ports=span)
        sources: Sequence[Subnet | None] = _collapsed(rule.allow, family) if rule.allow else [None]
        by_target.setdefault(rule.target, []).extend(replace(accepted, source=source) for source in sources)
    chains: Chains = {}
    targets = []
    for number, target in enumerate(sorted(by_target, key=int)):
        name = f"{chain}-{number}"
        targets.append(Rule(target=name, goto=True, destination=ip_network(target)))
        chains |= _by_protocol(name, by_target[target], otherwise=_DROP)
    return chains | by_destination(chain, targets, otherwise=_DROP)


def _sorted(rules: Iterable[P], family: Family) -> list[P]:
    """Return the rules of the family in a stable order.  Raises BadRequest for a rule that cannot be applied."""
    found = []
    for rule in rules:
        if rule.protocol not in PROTOCOLS_WITH_PORTS:
            raise BadRequest(f"protocol {rule.protocol!r} cannot be published: use tcp, udp or sctp")
        if isinstance(rule, Published) and rule.address.version != rule.target.version:
            raise BadRequest(f"{rule.target} cannot be published at {rule.address}: they are of different families")
        if rule.target.version == family:
            found.append(rule)
    return sorted(found, key=_order)


def _order(rule: Published | Opened) -> tuple[object, ...]:
    """Return the sort key: rules at single addresses precede rules at all addresses (0.0.0.0 and ::)."""
    if isinstance(rule, Published):
        return -int(rule.address), rule.port, int(rule.target), rule.target_port, rule.count
    return int(rule.target), rule.target_port, rule.count, rule.protocol, repr(rule.allow) if rule.allow else ""


@lru_cache(1 << 14)
def _dnat_rule(rule: Published) -> Rule:
    if rule.port == rule.target_port:
        dnat = Dnat(rule.target, None if rule.count > 1 else rule.target_port)
    else:
        dnat = Dnat(rule.target, rule.target_port, rule.count, rule.port)
    return _matching(rule, Rule(target=dnat))


def _matching(rule: Published, action: Rule) -> Rule:
    """Return the target of *action* with a match of the address and ports that *rule* publishes."""
    address = None if rule.address in _EVERY else ip_network(rule.address)
    ports = (rule.port, rule.port + rule.count - 1)
    return Rule(target=action.target, goto=action.goto, destination=address, protocol=rule.protocol, ports=ports)


def _by_protocol(chain: str, rules: Iterable[Rule], otherwise: Rule | None = None) -> Chains:
    chains: Chains = {chain: []}
    for protocol in PROTOCOLS_WITH_PORTS:
        if of_protocol := [rule for rule in rules if rule.protocol == protocol]:
            below = f"{chain}-{protocol}"
            chains[chain].append(Rule(target=below, goto=True, protocol=protocol))
            chains |= by_port(below, of_protocol, otherwise)
    chains[chain] += [otherwise] if otherwise else []
    return chains


def _collapsed(allow: Iterable[Subnet], family: Family) -> Sequence[Subnet]:
    if family == 4:
        return [*collapse_addresses(net for net in allow if isinstance(net, IPv4Network))]
    return [*collapse_addresses(net for net in allow if isinstance(net, IPv6Network))]
