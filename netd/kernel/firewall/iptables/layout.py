"""A ruleset as chains of the legacy tables, for one family.  Pure.

Rules drop packets and never accept them: packets that pass are still subject to the host's own rules, as with
nftables.  The filters are in the table mangle, which only raw and address translation precede.  So no rule in the
table filter can open netd's networks, and netd does not change that table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from netd.common.addresses import EVERY_IPV4, EVERY_IPV6, Family, Subnet
from netd.common.errors import BadRequest
from netd.kernel.firewall.iptables.entry import ClampMss, ConnectionState, Mark, Masquerade, Notrack, Rule, Snat, Tee
from netd.kernel.firewall.iptables.published import (
    PROTOCOLS_WITH_PORTS,
    on_published,
    opened,
    published,
    source_checks,
    source_ports,
)
from netd.kernel.firewall.iptables.trees import Chains, by_destination, by_link, by_source
from netd.kernel.links.egress_barrier import MARK
from netd.kernel.links.recirculation import ARRIVAL, NEXT_HOP, NEXT_HOP6, OUT
from netd.kernel.links.recirculation import MARK as RECIRCULATED
from netd.portmap import nat_ports
from netd.portmap.rules import BridgeRules, ForwardMark, GatewayMode, Ruleset, Treatment

PREFIX = "NETD-"
"""Prefix of the names of netd's chains.  Built-in chains get a jump to them; no other chain is changed."""
MARKING = ("mangle", "POSTROUTING")
"""The table and built-in chain where packets get the mark that the egress barriers require.

netd's rule there is the last, so that no rule of another program matches the mark.
"""
TABLES = ("raw", "mangle", "nat")
"""In the order in which they are written: the tables that drop packets first."""
_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_LOOPBACK: dict[Family, Subnet] = {4: ip_network("127.0.0.0/8"), 6: ip_network("::1/128")}
_PINGS: dict[Family, str] = {4: "icmp", 6: "icmpv6"}
_LINK_LOCAL = ip_network("fe80::/10")
_UNSPECIFIED: dict[Family, Subnet] = {4: ip_network(EVERY_IPV4), 6: ip_network(EVERY_IPV6)}
_ESTABLISHED = ConnectionState.ESTABLISHED | ConnectionState.RELATED
_DROP, _RETURN = Rule(target="DROP"), Rule(target="RETURN")
_OWN = "nd-"
_SEGMENTS = "nds+"


@dataclass(frozen=True, slots=True)
class Content:
    """netd's chains in one table; a built-in chain jumps to the chain with its name after the prefix."""

    chains: Chains = field(default_factory=dict)

    @property
    def hooks(self) -> list[str]:
        """The built-in chains that jump to netd's."""
        return [name.removeprefix(PREFIX) for name in self.chains if name.removeprefix(PREFIX) in _HOOKS]


_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")


def layout(
    rules: Ruleset,
    family: Family,
    forward_mark: ForwardMark | None = None,
    *,
    bridged: bool = False,
) -> dict[str, Content]:
    """Return the content of netd's chains in each table; empty if no bridge has the family.

    *forward_mark* is the mark of forwarded packets that the rules admit.  With *bridged*, br_netfilter passes packets
    between ports of a bridge through the tables.
    Raises BadRequest for values that must not be in a table.
    """
    bridges = sorted(rules.bridges, key=lambda bridge: bridge.name)
    for bridge in bridges:
        for link in (bridge.name, *bridge.trusted):
            _check(link)
    if not any(bridge.treatment(family) for bridge in bridges):
        return {table: Content() for table in TABLES}
    mangle = _mangle(rules, bridges, family)
    if bridged:
        mangle |= _translated(mangle, bridges)
    return {
        "raw": Content(_raw(bridges, family, bridged=bridged)),
        "mangle": Content({**mangle, **_marking(mangle, bridges, forward_mark, respect=rules.respect)}),
        "nat": Content(_nat(rules, bridges, family, bridged=bridged)),
    }


def _check(link: str) -> None:
    if not _LINK.match(link):
        raise BadRequest(f"bridge name {link!r} is not made of up to 15 letters, digits, '_', '.' and '-'")


def _raw(bridges: list[BridgeRules], family: Family, *, bridged: bool) -> Chains:
    """Return the chains of raw: ``route_localnet`` opens the host's 127.0.0.0/8 to containers, these rules close it.

    On the segments of a network, packets are bridged only: connection tracking begins at the first bridge.
    """
    start = [Rule(target=Notrack(), incoming=_SEGMENTS)] if bridged else []
    if family == 6:
        return {f"{PREFIX}PREROUTING": start} if start else {}
    loopback = _LOOPBACK[4]
    to_loopback = f"{PREFIX}LOOPBACK"
    start += [
        Rule(target="RETURN", incoming="lo"),
        Rule(target=to_loopback, goto=True, destination=loopback),
        Rule(target=to_loopback, goto=True, source=loopback),
    ]
    dropped = (Rule(target="DROP", incoming=bridge.name) for bridge in bridges)
    return {f"{PREFIX}PREROUTING": start, **by_link(to_loopback, dropped, out=False)}


def _mangle(rules: Ruleset, bridges: list[BridgeRules], family: Family) -> Chains:
    subnets = [(bridge.name, subnet) for bridge in bridges for subnet in _subnets(bridge, family)]
    other_link = Rule(target="DROP", not_incoming=True)
    spoofed, pinged = f"{PREFIX}SPOOFED", f"{PREFIX}PINGED"
    # Source addresses of a network are valid on its bridge only: on other links they are forged, for instance to
    # match the allowed sources of a port.  On segments of a network, br_netfilter passes packets between ports here.
    # The gateways of other networks do not answer pings.
    chains: Chains = {
        **by_source(spoofed, (replace(other_link, incoming=name, source=subnet) for name, subnet in subnets)),
        **by_destination(pinged, (replace(other_link, incoming=name, destination=subnet) for name, subnet in subnets)),
    }
    chains[spoofed].insert(0, Rule(target="RETURN", incoming=_SEGMENTS))
    over_budget = [address for address in rules.over_budget if address.version == family]
    checks = source_checks(f"{PREFIX}GUARDED", rules.published, family)
    chains[f"{PREFIX}PREROUTING"] = [
        Rule(target="RETURN", incoming="lo"),
        Rule(target=spoofed, state=ConnectionState.NEW),
    ]
    if over_budget:
        chain = f"{PREFIX}BUDGET"
        chains[f"{PREFIX}PREROUTING"].append(Rule(target=chain, state=ConnectionState.NEW))
        chains |= by_source(chain, (Rule(target="DROP", source=ip_network(address)) for address in over_budget))
    if checks:
        chains[f"{PREFIX}PREROUTING"].append(
            Rule(target=f"{PREFIX}GUARDED", goto=True, to_host=True, state=ConnectionState.NEW)
        )
        chains |= checks
    ping = Rule(target=pinged, protocol=_PINGS[family], ping=True)
    chains[f"{PREFIX}INPUT"] = [replace(ping, incoming=links) for links in _all_links(bridges)]
    chains[f"{PREFIX}INPUT"].append(Rule(target=f"{PREFIX}ARRIVING"))
    chains[f"{PREFIX}FORWARD"] = [Rule(target=f"{PREFIX}LEAVING"), Rule(target=f"{PREFIX}ENTERING")]
    arriving, leaving, entering = [], [], []
    for bridge in bridges:
        name = bridge.name
        names = _ChainNames(name)
        chains |= _bridge(bridge, family, names)
        arriving.append(Rule(target=names.sources, goto=True, incoming=name))
        leaving.append(Rule(target=names.leaving, goto=True, incoming=name))
        entering.append(Rule(target=names.entering, goto=True, outgoing=name))
    chains |= by_link(f"{PREFIX}ARRIVING", arriving, out=False)
    chains |= by_link(f"{PREFIX}LEAVING", leaving, out=False)
    chains |= by_link(f"{PREFIX}ENTERING", entering, out=True)
    treatments = (bridge.treatment(family) for bridge in bridges)
    if any(treatment.mode is GatewayMode.ROUTED for treatment in treatments if treatment):
        chains |= opened(f"{PREFIX}OPENED", rules.opened, family)
    return chains


def _translated(filters: Chains, bridges: list[BridgeRules]) -> Chains:
    """Return the chains that mark packets of translated connections from bridges, and clear the mark after the routing.

    A packet that br_netfilter translates to another port of its bridge leaves by the bridge's egress barrier, without
    the chains of a forwarded packet, while the host does not know the MAC of its destination.
    """
    links = _all_links(bridges)
    dnat = ConnectionState.DNAT
    mark = [Rule(target=Mark(MARK), incoming=link, state=dnat) for link in links]
    clear = Rule(target=Mark(MARK, clear=True), marked=MARK)
    hooks = ("INPUT", "FORWARD")
    cleared = {f"{PREFIX}{hook}": [clear, *filters[f"{PREFIX}{hook}"]] for hook in hooks}
    return {f"{PREFIX}PREROUTING": [*filters[f"{PREFIX}PREROUTING"], *mark], **cleared}


def _marking(filters: Chains, bridges: list[BridgeRules], mark: ForwardMark | None, *, respect: bool) -> Chains:
    """Return the chains that mark packets: those that the filters admit, and those that may leave by a bridge.

    They are in the same table as the filters, so that a flush of the filters also closes the egress barriers.
    """
    links = _all_links(bridges)
    leaving = [Rule(target=Mark(MARK), outgoing=link) for link in links]
    forward = list(filters[f"{PREFIX}FORWARD"])
    if respect:
        again = Rule(target=Mark(RECIRCULATED, clear=True), incoming=ARRIVAL, marked=RECIRCULATED)
        forward.insert(0, again)
    if mark is not None:
        admitted = Rule(target=Mark(mark.bits))
        forward += [replace(admitted, incoming=link) for link in (*links, _SEGMENTS)]
        forward += [replace(admitted, outgoing=link) for link in links]
        if not mark.kept:
            leaving.append(Rule(target=Mark(mark.bits, clear=True), marked=mark.bits))
    return {f"{PREFIX}FORWARD": forward, f"{PREFIX}POSTROUTING": leaving}


class _ChainNames:
    """Names of the chains of one bridge."""

    def __init__(self, bridge: str) -> None:
        self.sources = f"{PREFIX}src-{bridge}"
        self.leaving = f"{PREFIX}out-{bridge}"
        self.entering = f"{PREFIX}in-{bridge}"
        self.within = f"{PREFIX}icc-{bridge}"


def _bridge(bridge: BridgeRules, family: Family, names: _ChainNames) -> Chains:
    treatment = bridge.treatment(family)
    if treatment is None or bridge.internal or treatment.mode is GatewayMode.ISOLATED:
        treatment = None
    clamp = Rule(target=ClampMss(), protocol="tcp", syn=True)
    leaving = [Rule(target=names.within, goto=True, outgoing=bridge.name)]
    leaving += [Rule(target=names.sources), clamp] if treatment else [_DROP]
    entering = [Rule(target="RETURN", incoming=bridge.name)]
    entering += [*_entering(bridge, treatment, clamp)] if treatment else [_DROP]
    return {
        names.sources: _sources(bridge, family),
        names.within: _within(bridge, names),
        names.leaving: leaving,
        names.entering: entering,
    }


def _sources(bridge: BridgeRules, family: Family) -> list[Rule]:
    """Accept from a bridge only its subnets, fe80::/10, and 0.0.0.0 or :: of a container without an address yet."""
    subnets = _subnets(bridge, family)
    if not subnets:
        return []
    sources = [*subnets, _UNSPECIFIED[family], *([_LINK_LOCAL] if family == 6 else [])]
    return [*(Rule(target="RETURN", source=source) for source in sources), _DROP]


def _within(bridge: BridgeRules, names: _ChainNames) -> list[Rule]:
    """Return the rules for packets within a network that are routed (published ports) or passed by br_netfilter."""
    spoofed = Rule(target=names.sources, state=ConnectionState.DNAT)
    if not bridge.isolated:
        return [spoofed]
    return [
        spoofed,
        Rule(target="RETURN", state=_ESTABLISHED),
        Rule(target="RETURN", state=ConnectionState.DNAT),
        _DROP,
    ]


def _entering(bridge: BridgeRules, treatment: Treatment, clamp: Rule) -> Iterator[Rule]:
    yield clamp
    if treatment.mode is GatewayMode.UNPROTECTED:
        return
    yield Rule(target="RETURN", state=_ESTABLISHED)
    yield Rule(target="RETURN", state=ConnectionState.DNAT)
    for link in bridge.trusted:
        yield Rule(target="RETURN", incoming=link)
    if treatment.mode is GatewayMode.ROUTED:
        yield Rule(target="RETURN", protocol="icmp" if treatment is bridge.ipv4 else "icmpv6", ping=True)
        yield Rule(target=f"{PREFIX}OPENED", goto=True)
        return
    yield _DROP


def _nat(rules: Ruleset, bridges: list[BridgeRules], family: Family, *, bridged: bool) -> Chains:
    chain = f"{PREFIX}PUBLISHED"
    translate = Rule(target=chain, goto=True, to_host=True)
    loopback = _LOOPBACK[family]
    outside = replace(translate, destination=loopback, not_destination=True)
    # Packets from a link-local address cannot be forwarded to another link.
    link_local = [Rule(target="RETURN", source=_LINK_LOCAL)] if family == 6 else []
    refused = [replace(_RETURN, destination=loopback)] if family == 6 and bridged else []
    # A neighbour that routes 127.0.0.1 to this host must not reach ports that are published there.  If the host's input
    # rules are respected, packets from outside are recirculated first.
    from_bridges = [replace(outside, incoming=link) for link in _all_links(bridges)]
    again = replace(outside, incoming=ARRIVAL, marked=RECIRCULATED)
    translated = [again, *from_bridges] if rules.respect else [outside]
    # The first packet of a connection; ``_translated`` marks those that follow.
    marked = [Rule(target=Mark(MARK), incoming=link, to_host=True) for link in _all_links(bridges) if bridged]
    return {
        f"{PREFIX}PREROUTING": [*link_local, *marked, *translated],
        f"{PREFIX}OUTPUT": [*link_local, *refused, translate],
        **published(chain, rules.published, family),
        **(_recirculated(rules, bridges, family, link_local) if rules.respect else {}),
        **_postrouting(rules, bridges, family),
    }


def _recirculated(rules: Ruleset, bridges: list[BridgeRules], family: Family, link_local: list[Rule]) -> Chains:
    """Return the chains that recirculate the packets to published ports that the host's own input rules accept.

    INPUT of nat follows INPUT of filter, and only the first packet of a connection passes it.  That packet is
    duplicated to the recirculation links and dropped before its connection is confirmed; the duplicate is translated.
    """
    skipped = [Rule(target="RETURN", incoming=link) for link in (ARRIVAL, *_all_links(bridges))]
    next_hop = ip_address(NEXT_HOP if family == 4 else NEXT_HOP6)
    return {
        f"{PREFIX}INPUT": [*skipped, *link_local, Rule(target=f"{PREFIX}ASKED", goto=True, to_host=True)],
        f"{PREFIX}DETOUR": [Rule(target=Mark(RECIRCULATED)), Rule(target=Tee(next_hop, OUT)), _DROP],
        **on_published(f"{PREFIX}ASKED", rules.published, family, Rule(target=f"{PREFIX}DETOUR", goto=True)),
    }


def _postrouting(rules: Ruleset, bridges: list[BridgeRules], family: Family) -> Chains:
    """Return the chains for source translation: clients keep their address if replies to it pass this host.

    Replies would not pass for connections from the container's own network, from the container itself, from the
    loopback addresses, and from containers to outside.  POSTROUTING of legacy tables cannot match the incoming link, so
    rules match source subnets.
    """
    masquerade = Rule(target=Masquerade())
    of_host = (replace(masquerade, outgoing=bridge.name) for bridge in bridges)
    same = (
        replace(masquerade, source=subnet, outgoing=bridge.name)
        for bridge in bridges
        for subnet in _subnets(bridge, family)
    )
    hidden = [rule for bridge in bridges for rule in _source_nat(bridge, family)]
    clashing = source_ports(f"{PREFIX}SPORT", rules.published, family, f"{PREFIX}PORTS") if hidden else {}
    return {
        f"{PREFIX}POSTROUTING": [
            Rule(target=f"{PREFIX}HOST", goto=True, source=_LOOPBACK[family]),
            Rule(target=f"{PREFIX}HAIRPIN", state=ConnectionState.DNAT),
            *(Rule(target="RETURN", outgoing=links) for links in _all_links(bridges)),
            *(Rule(target=chain) for chain in list(clashing)[:1]),
            Rule(target=f"{PREFIX}HIDE", goto=True),
        ],
        **clashing,
        **(_other_ports(hidden, nat_ports.choose(rules.published)) if clashing else {}),
        **by_link(f"{PREFIX}HOST", of_host, out=True),
        **by_source(f"{PREFIX}HAIRPIN", same),
        **by_source(f"{PREFIX}HIDE", hidden),
    }


def _other_ports(hidden: list[Rule], block: nat_ports.Block) -> Chains:
    """Return the chains for connections from a port that is published to another container: they get another port.

    One chain per protocol, because iptables-restore refuses ports without a protocol.
    """
    chains: Chains = {}
    for protocol in PROTOCOLS_WITH_PORTS:
        moved = (
            replace(rule, protocol=protocol, target=replace(rule.target, ports=block))
            for rule in hidden
            if isinstance(rule.target, Snat | Masquerade)
        )
        chains |= by_source(f"{PREFIX}PORTS-{protocol}", moved)
    return chains


def _all_links(bridges: list[BridgeRules]) -> list[str]:
    """Return patterns that match the names of all bridges: a single pattern for all names that netd chose."""
    return sorted({f"{_OWN}+" if bridge.name.startswith(_OWN) else bridge.name for bridge in bridges})


def _source_nat(bridge: BridgeRules, family: Family) -> Iterator[Rule]:
    treatment = bridge.treatment(family)
    if treatment is None or bridge.internal or treatment.mode in (GatewayMode.ROUTED, GatewayMode.ISOLATED):
        return
    if treatment.source is None and not treatment.masquerade:
        return
    target = Snat(treatment.source) if treatment.source else Masquerade()
    for subnet in _subnets(bridge, family):
        yield Rule(target=target, source=subnet)


def _subnets(bridge: BridgeRules, family: Family) -> list[Subnet]:
    return [subnet for subnet in bridge.subnets if subnet.version == family]
