"""The last known facts of the host's links, and their comparison with the kernel.

Must be used in the thread that changes the host, so that netd's own changes are complete when they are compared.  Must
not change links.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TypeAlias

from netd.common.addresses import FAMILIES, Family
from netd.facts import Bridge, Fact, HostLink, Pair, Segment
from netd.host_protocol import Change
from netd.kernel import observe
from netd.kernel.links import bridge_routes, bridge_settings, macvlans, segments
from netd.kernel.netlink import rtnl, tc
from netd.kernel.netlink.neighbours import Neighbour
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of, name_of
from netd.portmap.rules import BridgeRules

OnHost: TypeAlias = Bridge | Segment | HostLink | Pair
_LATE, _LATE_PAUSE = 4, 0.02
"""Number of reads, and seconds between two, until a missing route of an IPv6 address counts as deleted."""
_NEIGHBOUR = "neighbour "
ON_HOST = (Bridge, Segment, HostLink, Pair)


class HostLinks:
    def __init__(self, host: Rtnl, links: macvlans.Macvlans, lookups: observe.HostLookups) -> None:
        self._host = host
        self._macvlans = links
        self._lookups = lookups
        self.known: dict[str, OnHost] = {}
        """The facts on the host that were last observed or applied, by the names of their links."""
        self._forwards: dict[str, frozenset[Family]] = {}

    # Families that the firewall lets a bridge forward

    def forwards(self, bridge: str) -> frozenset[Family]:
        return self._forwards.get(bridge, frozenset())

    def set_rules(self, rules: Iterable[BridgeRules]) -> None:
        """Take over the rules of all bridges after the firewall has applied them."""
        self._forwards = {}
        self.add_rules(rules)

    def add_rules(self, rules: Iterable[BridgeRules]) -> None:
        for bridge in rules:
            families = frozenset(family for family in FAMILIES if bridge.treatment(family) and not bridge.internal)
            self._forwards[bridge.name] = families

    def drop_rules(self, rules: Iterable[BridgeRules]) -> None:
        for bridge in rules:
            self._forwards.pop(bridge.name, None)

    # Known facts

    def remember(self, found: Iterable[Fact]) -> None:
        """Replace the known facts by those of an observation."""
        self.known = {name: fact for fact in found if isinstance(fact, ON_HOST) for name in names_of(fact)}

    def forget(self, fact: Fact) -> None:
        for name in names_of(fact):
            self.known.pop(name, None)

    def note(self, fact: Fact) -> None:
        if isinstance(fact, ON_HOST):
            self.known |= dict.fromkeys(names_of(fact), fact)

    def is_known(self, name: str) -> bool:
        return name in self.known or self._macvlans.is_parent(name)

    def first_bridge(self, bridge: str) -> int:
        """Return the index of the first bridge of a bridge's network; 0 if the bridges are not netd's own."""
        known = self.known.get(bridge)
        if isinstance(known, Segment):
            known = self.known.get(known.bridge)
        return (index_of(known.name) or 0) if isinstance(known, Bridge) and known.owned else 0

    # Comparison

    def bridge_facts(self, links: Collection[rtnl.Link], pairs: Collection[Pair]) -> list[Bridge]:
        """Return the facts of netd's bridges; waits for routes of IPv6 addresses that were set just now."""
        for _ in range(_LATE):
            found = self._bridge_facts(links, pairs)
            if not any(map(bridge_routes.may_be_late, found)):
                break
            time.sleep(_LATE_PAUSE)
        return found

    def _bridge_facts(self, links: Iterable[rtnl.Link], pairs: Iterable[Pair]) -> list[Bridge]:
        """Read addresses, routes and neighbours of the whole host once."""
        addresses = self._host.addresses()
        routes: dict[int, list[rtnl.RtnlRoute]] = {}
        for route in self._host.routes():
            routes.setdefault(route.link, []).append(route)
        wrong: dict[int, list[Neighbour]] = {}
        for neighbour in self._wrong_neighbours(pairs):
            wrong.setdefault(neighbour.link, []).append(neighbour)

        def state(link: rtnl.Link) -> observe.BridgeState:
            return observe.BridgeState(
                addresses.get(link.index, []),
                routes.get(link.index, []),
                self._host.programs(link.index, tc.EGRESS).first,
                self.forwards(link.name),
                _described(wrong.get(link.index, [])),
            )

        bridges_known = {name: fact for name, fact in self.known.items() if isinstance(fact, Bridge)}
        return observe.bridge_facts(links, bridges_known, state)

    def deviations(self, names: Iterable[str], indices: Iterable[int], *, neighbours: bool = False) -> list[Change]:
        """Return a change for each of these links that differs from its last known fact.

        Neighbour entries are compared only if *neighbours*: a host with many networks has thousands of them.
        """
        names = {*names, *filter(None, map(name_of, indices))}
        wrong = self._wrong_neighbours(self._pairs()) if neighbours else None
        return [change for name in names if (change := self._deviation(name, wrong))]

    def look(self) -> list[Change]:
        """Return a change for each bridge with wrong settings: the kernel sends no notification for most of them."""
        suspects = [link.name for link in self._host.bridges() if self._is_suspect(link)]
        return self.deviations(suspects, ()) if suspects else []

    def bridges_at(self, destinations: Collection[tuple[bytes, int]]) -> list[str]:
        """Return the bridges to whose addresses and subnets a route with one of these destinations leads."""
        return [
            name
            for name, fact in self.known.items()
            if isinstance(fact, Bridge)
            and any(
                (address.network.network_address.packed, address.network.prefixlen) in destinations
                or (address.ip.packed, address.max_prefixlen) in destinations
                for address in fact.addresses
            )
        ]

    def _is_suspect(self, link: rtnl.Link) -> bool:
        known = self.known.get(link.name)
        if isinstance(known, Segment):
            return bool(bridge_settings.wrong_attributes(link)) or not bridge_settings.has_arp_ignore(link)
        if not isinstance(known, Bridge):
            return False
        if not known.owned:
            return bridge_settings.has_localnet(link) != known.localnet
        wrong = bridge_settings.wrong_sysctls(link, known, self.forwards(link.name))
        return next(wrong, None) is not None or bool(bridge_settings.wrong_attributes(link))

    def _deviation(self, name: str, wrong: list[Neighbour] | None) -> Change | None:
        if self._macvlans.parent_changed(name):
            return Change("link", name)
        known = self.known.get(name)
        if known is None:
            return None
        link = self._host.find(name)
        if link is None:
            return Change("link", name)
        if isinstance(known, Segment):
            found = segments.fact(known.name, self._host.find, self._host.find)
            return None if found == known else Change("link", name)
        if isinstance(known, HostLink):
            return None if self._macvlans.access_is(known, link) else Change("link", name)
        if isinstance(known, Pair):
            return None if observe.port_is(known, link, self._lookups) else Change("link", name)
        bridge = observe.bridge_fact(link, self._bridge_state(link, known, wrong), known)
        if bridge == known:
            return None
        # Without an address, what follows from it differs too.
        others = replace(bridge, addresses=known.addresses, faults=known.faults)
        return Change("address" if others == known and bridge.addresses != known.addresses else "link", name)

    def _bridge_state(self, link: rtnl.Link, known: Bridge, wrong: list[Neighbour] | None) -> observe.BridgeState:
        unchanged = tuple(fault for fault in known.faults if fault.startswith(_NEIGHBOUR))
        return observe.BridgeState(
            self._host.addresses(link.index).get(link.index, []),
            self._host.routes(link=link.index),
            self._host.programs(link.index, tc.EGRESS).first,
            self.forwards(link.name),
            unchanged if wrong is None else _described(found for found in wrong if found.link == link.index),
        )

    def wrong_neighbours(self, bridge: str) -> list[Neighbour]:
        """Return the permanent neighbour entries by a bridge that contradict the MACs of the known pairs."""
        link = self._host.find(bridge)
        return [found for found in self._wrong_neighbours(self._pairs()) if link and found.link == link.index]

    def _pairs(self) -> list[Pair]:
        return [fact for fact in self.known.values() if isinstance(fact, Pair)]

    def _wrong_neighbours(self, pairs: Iterable[Pair]) -> list[Neighbour]:
        permanent = self._host.permanent_neighbours()
        macs = {address.ip: pair.mac for pair in pairs for address in pair.addresses} if permanent else {}
        return [found for found in permanent if macs.get(found.address, found.mac) != found.mac]


def names_of(fact: Fact) -> tuple[str, ...]:
    """Return the names of the fact's links on the host."""
    match fact:
        case Bridge() | HostLink():
            return (fact.name,)
        case Segment():
            return segments.names(fact.name)
        case Pair():
            return (fact.host,)
    return ()


def _described(wrong: Iterable[Neighbour]) -> tuple[str, ...]:
    return tuple(sorted(f"{_NEIGHBOUR}{found.address} at {found.mac or 'no MAC'}" for found in wrong))
