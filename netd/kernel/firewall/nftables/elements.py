"""The elements of a ruleset in the sets and maps of the table.  Pure.

The only source of variable text in nft scripts.  Must emit only checked names, addresses and numbers, because
libnftables parses the script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from typing import TypeAlias

from netd.common.addresses import EVERY_IPV4, EVERY_IPV6, FAMILIES, Address, Family, Subnet
from netd.common.errors import BadRequest
from netd.portmap import nat_ports
from netd.portmap.rules import BridgeRules, GatewayMode, Opened, Published, Ruleset

Key: TypeAlias = tuple[str, str]
"""Name of the set or map, and the key in it."""
Element: TypeAlias = tuple[Key, str]
"""A key with its value; "" in sets."""
Elements: TypeAlias = dict[Key, str]

_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_PROTOCOLS = ("tcp", "udp", "sctp")
_EVERY = {4: "0.0.0.0/0", 6: "::/0"}
_ENTERING = {
    GatewayMode.NAT: "goto nat",
    GatewayMode.UNPROTECTED: "accept",
    GatewayMode.ROUTED: "goto routed",
    GatewayMode.ISOLATED: "drop",
}


def elements(rules: Ruleset) -> Elements:
    """Return all elements of a ruleset.  Raises BadRequest for values that must not be in a script."""
    ports = {port for rule in rules.published for port in nat_ports.single_ports(rule)}
    return {**parts(rules), **of_ports_at(ports)}


def parts(rules: Ruleset) -> Elements:
    """Return the elements that belong to a single bridge, published rule or opened rule."""
    found: Elements = {}
    for bridge in rules.bridges:
        found.update(of_bridge(bridge))
    for published in rules.published:
        found.update(of_published(published))
    for opened in rules.opened:
        found.update(of_opened(opened))
    found.update({("over_budget" + suffix(address), str(address)): "" for address in rules.over_budget})
    return found


def of_bridge(rules: BridgeRules) -> Iterator[Element]:
    name = _link(rules.name)
    yield ("marked", name), "goto mark_packet"
    yield ("bridges", name), ""
    yield ("homes", name), ""
    for subnet in rules.subnets:
        yield ("subnets" + suffix(subnet.network_address), str(subnet)), ""
    yield ("within", f"{name} . {name}"), ""
    if rules.isolated:
        yield ("isolated", name), ""
    for link in rules.trusted:
        yield ("trusted", f"{_link(link)} . {name}"), ""
    for family in FAMILIES:
        yield from _family(rules, family, name)


def _family(rules: BridgeRules, family: Family, name: str) -> Iterator[Element]:
    key = f"ipv{family} . {name}"
    treatment = rules.treatment(family)
    if treatment is None or rules.internal or treatment.mode is GatewayMode.ISOLATED:
        yield ("leaving", key), "drop"
        yield ("entering", key), "drop"
        return
    yield ("entering", key), _ENTERING[treatment.mode]
    if treatment.mode is GatewayMode.ROUTED:
        return
    if treatment.source is not None:
        yield ("sources" + suffix(treatment.source), name), str(treatment.source)
    elif treatment.masquerade:
        yield ("masquerading", key), ""


def of_ports_at(ports: Iterable[tuple[int, str, int]]) -> Elements:
    """Return the elements of ports that source NAT must not take, whatever host address they are published at."""
    return {
        ("host_ports6" if version == 6 else "host_ports", f"{protocol} . {port}"): ""
        for version, protocol, port in ports
    }


def of_published(rule: Published) -> Iterator[Element]:
    """Yield the elements of a published rule."""
    _check_protocol(rule.protocol)
    if rule.address.version != rule.target.version:
        raise BadRequest(f"{rule.target} cannot be published at {rule.address}: they are of different families")
    every = rule.address in (EVERY_IPV4, EVERY_IPV6)
    ending = suffix(rule.address) + ("" if every else "_at")
    key = f"{rule.protocol} . " if every else f"{rule.address} . {rule.protocol} . "
    if rule.count > 1 and rule.port == rule.target_port:
        yield ("ranges" + ending, key + _span(rule.port, rule.count)), str(rule.target)
    else:
        name, target = "ports" + ending, str(rule.target)
        for offset in range(rule.count):
            yield (name, f"{key}{rule.port + offset}"), f"{target} . {rule.target_port + offset}"
    if every:
        yield from _host_ports(rule)
    if rule.allow:
        yield from _allowed(rule, _EVERY[rule.address.version] if every else str(rule.address))


def _host_ports(rule: Published) -> Iterator[Element]:
    """Yield a range that source NAT must not take, and the ports that the container itself keeps."""
    ending = ("spans" if rule.count > 1 else "ports") + suffix(rule.address)
    key = f"{rule.protocol} . {_span(rule.port, rule.count)}"
    if rule.count > 1:
        yield (f"host_{ending}", key), ""
    if nat_ports.is_own(rule):
        yield (f"own_{ending}", f"{rule.target} . {key}"), ""


def _allowed(rule: Published, address: str) -> Iterator[Element]:
    ending = suffix(rule.address)
    key = f"{address} . {rule.protocol} . {_span(rule.port, rule.count)}"
    yield ("guarded" + ending, key), ""
    for source in _sources(rule.allow, rule.address):
        yield ("allowed" + ending, f"{source} . {key}"), ""


def of_opened(rule: Opened) -> Iterator[Element]:
    _check_protocol(rule.protocol)
    ending = suffix(rule.target)
    key = f"{rule.target} . {rule.protocol} . {_span(rule.target_port, rule.count)}"
    if rule.allow:
        for source in _sources(rule.allow, rule.target):
            yield (f"opened{ending}_to", f"{source} . {key}"), ""
    else:
        yield (f"opened{ending}_ranges" if rule.count > 1 else f"opened{ending}", key), ""


def _sources(allow: Iterable[Subnet], address: Address) -> Iterator[IPv4Network | IPv6Network]:
    """Yield the subnets of the address's family without overlaps, which the kernel refuses in interval sets."""
    if isinstance(address, IPv4Address):
        yield from collapse_addresses(net for net in allow if isinstance(net, IPv4Network))
    else:
        yield from collapse_addresses(net for net in allow if isinstance(net, IPv6Network))


def suffix(address: Address) -> str:
    return "6" if isinstance(address, IPv6Address) else ""


def _span(first: int, count: int) -> str:
    return f"{first}-{first + count - 1}" if count > 1 else str(first)


def _link(name: str) -> str:
    if not _LINK.match(name):
        raise BadRequest(f"bridge name {name!r} is not made of up to 15 letters, digits, '_', '.' and '-'")
    return f'"{name}"'


def _check_protocol(protocol: str) -> None:
    if protocol not in _PROTOCOLS:
        raise BadRequest(f"protocol {protocol!r} cannot be published: use tcp, udp or sctp")
