"""The firewall as chains of the legacy tables, for one family.  Pure.

Packets are only ever dropped, never accepted for good: what passes is still for the host's own rules to judge, as with
nftables.  The filters are in the table mangle, which only the rules of raw and the translation come before, so that
nothing that is put in front of a host's filter opens our networks, and the host's table filter stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from netd.common.addresses import EVERY_IPV4, EVERY_IPV6, Family, Subnet
from netd.common.errors import BadRequest
from netd.kernel.firewall.iptables.entry import ClampMss, ConnectionState, Copy, Mark, Masquerade, Rule, Snat
from netd.kernel.firewall.iptables.published import asked, guards, opened, published
from netd.kernel.firewall.iptables.trees import Chains, by_destination, by_link, by_source
from netd.kernel.links.egress_barrier import MARK
from netd.kernel.links.recirculation import IN, NEXT_HOP, NEXT_HOP6, OUT
from netd.portmap.rules import BridgeRules, GatewayMode, Ruleset, Treatment

PREFIX = "NETD-"
"""How all chains of ours begin.  No other chain is touched, but for one rule that leads to ours."""
MARKING = ("mangle", "POSTROUTING")
"""The table and the built-in chain where packets get the mark that the barriers pass.

There our rule is the last, so that no rule of others sees the mark.
"""
TABLES = ("raw", "mangle", "nat")
"""In the order in which they are made: what closes comes first."""
_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_LOOPBACK: dict[Family, Subnet] = {4: ip_network("127.0.0.0/8"), 6: ip_network("::1/128")}
_PINGS: dict[Family, str] = {4: "icmp", 6: "icmpv6"}
_LINK_LOCAL = ip_network("fe80::/10")
_NOBODY: dict[Family, Subnet] = {4: ip_network(EVERY_IPV4), 6: ip_network(EVERY_IPV6)}
_KNOWN = ConnectionState.ESTABLISHED | ConnectionState.RELATED
_DROP, _RETURN = Rule(then="DROP"), Rule(then="RETURN")
_OWN = "nd-"
_SEGMENTS = "nds+"


@dataclass(frozen=True, slots=True)
class Content:
    """What is ours in one table; a chain named like a built-in one after the prefix is what that one leads to."""

    chains: Chains = field(default_factory=dict)

    @property
    def hooks(self) -> list[str]:
        """The built-in chains that lead to ours."""
        return [name.removeprefix(PREFIX) for name in self.chains if name.removeprefix(PREFIX) in _HOOKS]


_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")


@dataclass(frozen=True, slots=True)
class Bridged:
    """What br_netfilter shows to the tables of what goes from port to port of a bridge."""

    present: bool = False
    """It may show something: the kernel has it."""
    ipv6: bool = False
    """It shows IPv6 now: answers to ::1 would be translated before the kernel drops them, so it is not led on."""


def layout(rules: Ruleset, family: Family, bridged: Bridged = Bridged()) -> dict[str, Content]:
    """Return what our chains hold in each table; nothing where no bridge has the family.

    Raises BadRequest for what no table may contain.
    """
    bridges = sorted((one for one in rules.bridges), key=lambda one: one.name)
    for bridge in bridges:
        for link in (bridge.name, *bridge.trusted):
            _check(link)
    if not any(one.treatment(family) for one in bridges):
        return {table: Content() for table in TABLES}
    return {
        "raw": Content(_raw(bridges) if family == 4 else {}),
        "mangle": Content(_mangle(rules, bridges, family)),
        "nat": Content(_nat(rules, bridges, family, bridged)),
    }


def _check(link: str) -> None:
    if not _LINK.match(link):
        raise BadRequest(f"bridge name {link!r} is not made of up to 15 letters, digits, '_', '.' and '-'")


def _raw(bridges: list[BridgeRules]) -> Chains:
    """``route_localnet`` opens the host's 127.0.0.0/8 to what is on our bridges: shut it here."""
    loopback = _LOOPBACK[4]
    to_loopback = f"{PREFIX}LOOPBACK"
    start = [
        Rule(then="RETURN", incoming="lo"),
        Rule(then=to_loopback, goto=True, destination=loopback),
        Rule(then=to_loopback, goto=True, source=loopback),
    ]
    dropped = (Rule(then="DROP", incoming=bridge.name) for bridge in bridges)
    return {f"{PREFIX}PREROUTING": start, **by_link(to_loopback, dropped, out=False)}


def _mangle(rules: Ruleset, bridges: list[BridgeRules], family: Family) -> Chains:
    subnets = [(bridge.name, subnet) for bridge in bridges for subnet in _subnets(bridge, family)]
    elsewhere = Rule(then="DROP", not_incoming=True)
    spoofed, pinged = f"{PREFIX}SPOOFED", f"{PREFIX}PINGED"
    # Sources inside a network come by its bridge alone; by any other link they are forged, to be let in by --allow.
    # By a network's further bridges br_netfilter shows what goes from port to port.
    # The gateways of other networks do not answer pings.
    chains: Chains = {
        **by_source(spoofed, (replace(elsewhere, incoming=name, source=subnet) for name, subnet in subnets)),
        **by_destination(pinged, (replace(elsewhere, incoming=name, destination=subnet) for name, subnet in subnets)),
    }
    chains[spoofed].insert(0, Rule(then="RETURN", incoming=_SEGMENTS))
    over_budget = [one for one in rules.over_budget if one.version == family]
    guarded = guards(f"{PREFIX}GUARDED", rules.published, family)
    chains[f"{PREFIX}PREROUTING"] = [Rule(then="RETURN", incoming="lo"), Rule(then=spoofed, state=ConnectionState.NEW)]
    if over_budget:
        chain = f"{PREFIX}BUDGET"
        chains[f"{PREFIX}PREROUTING"].append(Rule(then=chain, state=ConnectionState.NEW))
        chains |= by_source(chain, (Rule(then="DROP", source=ip_network(address)) for address in over_budget))
    if guarded:
        chains[f"{PREFIX}PREROUTING"].append(
            Rule(then=f"{PREFIX}GUARDED", goto=True, to_host=True, state=ConnectionState.NEW)
        )
        chains |= guarded
    ping = Rule(then=pinged, protocol=_PINGS[family], ping=True)
    chains[f"{PREFIX}INPUT"] = [replace(ping, incoming=links) for links in _all_links(bridges)]
    chains[f"{PREFIX}INPUT"].append(Rule(then=f"{PREFIX}ARRIVING"))
    chains[f"{PREFIX}FORWARD"] = [Rule(then=f"{PREFIX}LEAVING"), Rule(then=f"{PREFIX}ENTERING")]
    # In one table with the filters, so that who flushes those closes the bridges' barrier too.
    chains[f"{PREFIX}POSTROUTING"] = [Rule(then=Mark(MARK), outgoing=links) for links in _all_links(bridges)]
    arriving, leaving, entering = [], [], []
    for bridge in bridges:
        name = bridge.name
        here = _Names(name)
        chains |= _bridge(bridge, family, here)
        arriving.append(Rule(then=here.sources, goto=True, incoming=name))
        leaving.append(Rule(then=here.leaving, goto=True, incoming=name))
        entering.append(Rule(then=here.entering, goto=True, outgoing=name))
    chains |= by_link(f"{PREFIX}ARRIVING", arriving, out=False)
    chains |= by_link(f"{PREFIX}LEAVING", leaving, out=False)
    chains |= by_link(f"{PREFIX}ENTERING", entering, out=True)
    if any(one.mode is GatewayMode.ROUTED for bridge in bridges if (one := bridge.treatment(family))):
        chains |= opened(f"{PREFIX}OPENED", rules.opened, family)
    return chains


class _Names:
    """The chains of one bridge."""

    def __init__(self, bridge: str) -> None:
        self.sources = f"{PREFIX}src-{bridge}"
        self.leaving = f"{PREFIX}out-{bridge}"
        self.entering = f"{PREFIX}in-{bridge}"
        self.among = f"{PREFIX}icc-{bridge}"


def _bridge(bridge: BridgeRules, family: Family, here: _Names) -> Chains:
    treatment = bridge.treatment(family)
    if treatment is None or bridge.internal or treatment.mode is GatewayMode.ISOLATED:
        treatment = None
    clamp = Rule(then=ClampMss(), protocol="tcp", syn=True)
    leaving = [Rule(then=here.among, goto=True, outgoing=bridge.name)]
    leaving += [Rule(then=here.sources), clamp] if treatment else [_DROP]
    entering = [Rule(then="RETURN", incoming=bridge.name)]
    entering += [*_entering(bridge, treatment, clamp)] if treatment else [_DROP]
    return {
        here.sources: _sources(bridge, family),
        here.among: _among(bridge, here),
        here.leaving: leaving,
        here.entering: entering,
    }


def _sources(bridge: BridgeRules, family: Family) -> list[Rule]:
    """From a bridge comes only what would be answered by way of it: who is nobody yet has no address."""
    subnets = _subnets(bridge, family)
    if not subnets:
        return []
    here = [*subnets, _NOBODY[family], *([_LINK_LOCAL] if family == 6 else [])]
    return [*(Rule(then="RETURN", source=one) for one in here), _DROP]


def _among(bridge: BridgeRules, here: _Names) -> list[Rule]:
    """Within a network packets come by here only when published, or where br_netfilter shows them."""
    spoofed = Rule(then=here.sources, state=ConnectionState.DNAT)
    if not bridge.isolated:
        return [spoofed]
    return [spoofed, Rule(then="RETURN", state=_KNOWN), Rule(then="RETURN", state=ConnectionState.DNAT), _DROP]


def _entering(bridge: BridgeRules, treatment: Treatment, clamp: Rule) -> Iterator[Rule]:
    yield clamp
    if treatment.mode is GatewayMode.UNPROTECTED:
        return
    yield Rule(then="RETURN", state=_KNOWN)
    yield Rule(then="RETURN", state=ConnectionState.DNAT)
    for link in bridge.trusted:
        yield Rule(then="RETURN", incoming=link)
    if treatment.mode is GatewayMode.ROUTED:
        yield Rule(then="RETURN", protocol="icmp" if treatment is bridge.ipv4 else "icmpv6", ping=True)
        yield Rule(then=f"{PREFIX}OPENED", goto=True)
        return
    yield _DROP


def _nat(rules: Ruleset, bridges: list[BridgeRules], family: Family, bridged: Bridged) -> Chains:
    chain = f"{PREFIX}PUBLISHED"
    lead = Rule(then=chain, goto=True, to_host=True)
    loopback = _LOOPBACK[family]
    outside = replace(lead, destination=loopback, not_destination=True)
    # What comes from an address of its link alone cannot be led on to another link.
    strangers = [Rule(then="RETURN", source=_LINK_LOCAL)] if family == 6 else []
    refused = [replace(_RETURN, destination=loopback)] if family == 6 and bridged.ipv6 else []
    # A neighbour that routes 127.0.0.1 to us must not reach what is published there.  Where the host's input is
    # respected, what comes from outside takes the detour first.
    leads = [replace(outside, incoming=one) for one in (IN, *_all_links(bridges))] if rules.respect else [outside]
    return {
        f"{PREFIX}PREROUTING": [*strangers, *leads],
        f"{PREFIX}OUTPUT": [*strangers, *refused, lead],
        **published(chain, rules.published, family),
        **(_passed(rules, bridges, family, strangers) if rules.respect else {}),
        **_postrouting(rules, bridges, family, bridged),
    }


def _passed(rules: Ruleset, bridges: list[BridgeRules], family: Family, strangers: list[Rule]) -> Chains:
    """What the host's own rules let in is seen here: after those of filter, and once for each connection.

    The first packet goes by the detour, and comes in again to be translated; the connection is not known before.
    """
    ours = [Rule(then="RETURN", incoming=one) for one in ("lo", IN, *_all_links(bridges))]
    next_hop = ip_address(NEXT_HOP if family == 4 else NEXT_HOP6)
    return {
        f"{PREFIX}INPUT": [*ours, *strangers, Rule(then=f"{PREFIX}ASKED", goto=True, to_host=True)],
        f"{PREFIX}DETOUR": [Rule(then=Copy(next_hop, OUT)), _DROP],
        **asked(f"{PREFIX}ASKED", rules.published, family, Rule(then=f"{PREFIX}DETOUR", goto=True)),
    }


def _postrouting(rules: Ruleset, bridges: list[BridgeRules], family: Family, bridged: Bridged) -> Chains:
    """Clients keep their address, except where the answer would not come back this way.

    That is from the container's own network and itself, from the loopback addresses, and from containers to the world.
    Legacy tables do not show here by which link a packet came: that it is of a network is known by its source.  What
    br_netfilter translates between a bridge's ports is answered there, but for what a container sends to itself.
    """
    hide = Rule(then=Masquerade())
    of_host = (replace(hide, outgoing=bridge.name) for bridge in bridges)
    same = (
        replace(hide, source=subnet, outgoing=bridge.name) for bridge in bridges for subnet in _subnets(bridge, family)
    )
    themselves: Chains = {}
    if bridged.present:
        own = map(ip_network, {one.target for one in rules.published if one.target.version == family})
        themselves = by_source(f"{PREFIX}SELF", (replace(hide, source=one, destination=one) for one in own))
    return {
        f"{PREFIX}POSTROUTING": [
            Rule(then=f"{PREFIX}HOST", goto=True, source=_LOOPBACK[family]),
            *(Rule(then=chain, state=ConnectionState.DNAT) for chain in list(themselves)[:1]),
            Rule(then=f"{PREFIX}HAIRPIN", state=ConnectionState.DNAT, not_bridged=bridged.present),
            *(Rule(then="RETURN", outgoing=links) for links in _all_links(bridges)),
            Rule(then=f"{PREFIX}HIDE", goto=True),
        ],
        **themselves,
        **by_link(f"{PREFIX}HOST", of_host, out=True),
        **by_source(f"{PREFIX}HAIRPIN", same),
        **by_source(f"{PREFIX}HIDE", (rule for bridge in bridges for rule in _hiding(bridge, family))),
    }


def _all_links(bridges: list[BridgeRules]) -> list[str]:
    """Return what matches the names of all bridges: one pattern for all that we name ourselves."""
    return sorted({f"{_OWN}+" if one.name.startswith(_OWN) else one.name for one in bridges})


def _hiding(bridge: BridgeRules, family: Family) -> Iterator[Rule]:
    treatment = bridge.treatment(family)
    if treatment is None or bridge.internal or treatment.mode in (GatewayMode.ROUTED, GatewayMode.ISOLATED):
        return
    if treatment.source is None and not treatment.masquerade:
        return
    then = Snat(treatment.source) if treatment.source else Masquerade()
    for subnet in _subnets(bridge, family):
        yield Rule(then=then, source=subnet)


def _subnets(bridge: BridgeRules, family: Family) -> list[Subnet]:
    return [one for one in bridge.subnets if one.version == family]
