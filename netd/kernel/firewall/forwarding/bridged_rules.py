"""Whether rules of other programs see packets between the ports of a network's bridges, by br_netfilter.

Direct delivery would bypass such rules.  Reads the rules of all hooks that these packets pass, in nftables and in the
legacy tables, and compares them with packets of which the bridge, the subnets, the mark and the state are known.
Changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import TypeAlias

from netd.common.addresses import FAMILIES, Family
from netd.common.errors import KernelRefused
from netd.kernel import sysctl
from netd.kernel.firewall.forwarding import legacy_chains, nft_chains
from netd.kernel.firewall.forwarding.chains import Among, ForeignRule, ForwardChain, Packet
from netd.kernel.firewall.forwarding.effects import EffectSearch, has_effect
from netd.kernel.firewall.nftables.nft import Nft
from netd.portmap.rules import BridgeRules

Rules: TypeAlias = Callable[[str], Sequence[ForeignRule]]
"""The rules of a chain of a table, by the chain's name."""
Subnets: TypeAlias = tuple[IPv4Network | IPv6Network, ...]
_FAMILIES: dict[str, tuple[Family, ...]] = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_LINK_LOCAL = ip_network("fe80::/10")
_STATES = Among(("new", "established", "related", "untracked"))
"""Rules for the state INVALID do not count: a packet that is delivered belongs to no connection."""
_OWN_CHAINS = "NETD-"
_REST = 20
"""Seconds between two readings per second that the previous reading took."""


class BridgedRules:
    """Use it in one thread, whose network namespace is the host."""

    def __init__(self, mark: int, mark_priority: int) -> None:
        """*mark* are the bits that packets which netd's rules admit have at the forward hook after *mark_priority*."""
        self._mark = mark
        self._mark_priority = mark_priority
        self._reader = nft_chains.NftReader()
        self._nft: Nft | None = None
        self._bridges: dict[str, BridgeRules] = {}
        self._chains: list[tuple[ForwardChain, Family, Rules]] = []
        """The chains of other programs, as of the last reading, with each family whose packets pass them."""
        self._seen: object = None
        """What was compared at the last reading; None if there was none since br_netfilter was switched on."""
        self._stale = False
        """Whether networks were removed since the last search."""
        self._reason = ""
        self._due = 0.0

    def close(self) -> None:
        self._reader.close()
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    def reset(self, bridges: Iterable[BridgeRules]) -> None:
        """Replace the networks."""
        self._bridges = {bridge.name: bridge for bridge in bridges}
        self._seen = None

    def change(self, removed: Iterable[BridgeRules], added: Collection[BridgeRules]) -> bool:
        """Remove and add networks; return whether a rule that was last read may match packets of the added ones."""
        for bridge in removed:
            self._stale = self._bridges.pop(bridge.name, None) is not None or self._stale
        self._bridges |= {bridge.name: bridge for bridge in added}
        if added and self._seen is not None and not self._reason:
            self._reason = self._search(added)
            return bool(self._reason)
        return False

    def reason(self) -> str:
        """Return the first rule that may see packets within a network; "" if there is none, or br_netfilter is off.

        A rule that cannot be read counts.  Reads the rules again if they may have changed; rests in proportion to the
        cost.
        """
        families = sysctl.bridge_filter()
        if not families:
            self._seen, self._reason = None, ""
        elif not self._bridges:
            self._seen, self._reason = None, "no network is known yet"
        elif self._seen is None or time.monotonic() >= self._due:
            self._look(families)
        return self._reason

    def _look(self, families: Collection[Family]) -> None:
        began = time.monotonic()
        try:
            legacy = legacy_chains.read_passed(sorted(families))
            found = (families, self._reader.generation(), legacy)
            if found != self._seen:
                self._chains = [
                    (chain, family, cache(self._rules_of(chain)))
                    for chain in (*self._reader.read_passed(), *legacy)
                    for family in _FAMILIES.get(chain.family, ())
                    if family in families
                ]
            if found != self._seen or self._stale:
                self._reason = self._search(self._bridges.values())
            self._seen, self._stale = found, False
        except (KernelRefused, OSError) as problem:
            self._seen, self._reason = None, f"rules cannot be read: {getattr(problem, 'message', problem)}"
        self._due = time.monotonic() + _REST * (time.monotonic() - began)

    def _search(self, bridges: Iterable[BridgeRules]) -> str:
        names = Among(tuple(bridge.name for bridge in bridges))
        subnets = [subnet for bridge in bridges for subnet in bridge.subnets]
        merged = {family: _merged(subnets, family) for family in FAMILIES}
        try:
            for chain, family, rules in self._chains:
                if merged[family] and (place := self._place(chain, family, rules, names, merged[family])):
                    return f"{chain}: {place}"
        except (KernelRefused, OSError) as problem:
            return f"rules cannot be read: {getattr(problem, 'message', problem)}"
        return ""

    def _place(self, chain: ForwardChain, family: Family, rules: Rules, names: Among, subnets: Subnets) -> str:
        """Return the place in the chain where packets of the family may be seen."""
        if place := EffectSearch(chain, rules, has_effect).place(self._packet(chain, family, names, subnets)):
            return place
        if chain.hook != "prerouting":
            return ""
        # A connection that is translated to a container has replies that only the bridge translates back.
        translated: Packet = {"nfproto": f"ipv{family}", "iifname": names, "saddr": Among(subnets), "mark": 0}
        return EffectSearch(chain, rules, lambda rule: _leads_inside(rule, subnets)).place(translated)

    def _rules_of(self, chain: ForwardChain) -> Rules:
        if chain.kind == "iptables-legacy":
            return lambda name: [rule for rule in chain.chains.get(name, ()) if not rule.target.startswith(_OWN_CHAINS)]
        self._nft = self._nft or Nft(json=True)
        nft = self._nft
        return lambda name: nft_chains.rules(nft, self._reader, chain, name)

    def _packet(self, chain: ForwardChain, family: Family, names: Among, subnets: Subnets) -> Packet:
        """Return a packet between two ports of a bridge, as the chain receives it."""
        marked = chain.hook == "postrouting" or (chain.hook == "forward" and chain.priority > self._mark_priority)
        inside = Among((*subnets, _LINK_LOCAL) if family == 6 else subnets)
        packet: dict[str, str | int | frozenset[str] | Among] = {
            "nfproto": f"ipv{family}",
            "saddr": inside,
            "daddr": inside,
            "daddrtype": "unicast",
            "state": _STATES,
            "status": frozenset(),
            "mark": self._mark if marked else 0,
        }
        if chain.hook != "postrouting":
            packet["iifname"] = names
        if chain.hook != "prerouting":
            packet["oifname"] = names
        return packet


def _merged(subnets: Iterable[IPv4Network | IPv6Network], family: Family) -> Subnets:
    if family == 4:
        return tuple(collapse_addresses(net for net in subnets if isinstance(net, IPv4Network)))
    return tuple(collapse_addresses(net for net in subnets if isinstance(net, IPv6Network)))


def _leads_inside(rule: ForeignRule, subnets: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Return whether the rule may translate destinations to addresses of containers."""
    if rule.effect.lower() not in ("dnat", "netmap", "verdicts of a map"):
        return False
    target = rule.leads_to
    return target is None or any(target.version == net.version and target.overlaps(net) for net in subnets)
