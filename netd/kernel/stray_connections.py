"""Which tracked connections the firewall's rules would not have admitted, or not untranslated.  Pure.

Such connections begin while the rules are gone because others flushed them, and the restored rules let what is
established go on.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Protocol

from netd.common.addresses import Address, Subnet
from netd.portmap.rules import BridgeRules, GatewayMode, Opened, Published, Ruleset, Treatment

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_PINGS = (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)


class TrackedConnection(Protocol):
    """A tracked connection: its first packet's source, destination and port, and the ends of what answers it."""

    @property
    def protocol(self) -> int: ...
    @property
    def source(self) -> Address: ...
    @property
    def destination(self) -> Address: ...
    @property
    def port(self) -> int: ...
    @property
    def answers(self) -> Address: ...
    @property
    def answers_to(self) -> Address: ...


class Strays:
    """Decides for one ruleset; *ours* are the host's own addresses."""

    def __init__(self, rules: Ruleset, ours: frozenset[Address]) -> None:
        self._ours = ours
        self._homes: dict[int, dict[Subnet, BridgeRules]] = {4: {}, 6: {}}
        for bridge in rules.bridges:
            for subnet in bridge.subnets:
                self._homes[subnet.version][subnet] = bridge
        self._lengths = {version: {one.prefixlen for one in found} for version, found in self._homes.items()}
        self._published = {place for rule in rules.published for place in _places(rule)}
        self._opened = {(rule.target, *place) for rule in rules.opened for place in _places(rule)}

    def include(self, entry: TrackedConnection) -> bool:
        if (entry.answers, entry.answers_to) != (entry.destination, entry.source):
            return False  # Only rules translate.
        if entry.destination in self._ours or entry.destination.is_loopback:
            return (entry.protocol, entry.port) in self._published and entry.source not in self._ours
        if entry.source in self._ours or entry.destination.is_multicast:
            return False
        source, destination = self._home(entry.source), self._home(entry.destination)
        if source is destination:
            return False
        return not (self._leaves(source, destination, entry) and self._enters(destination, entry))

    def _leaves(self, source: BridgeRules | None, destination: BridgeRules | None, entry: TrackedConnection) -> bool:
        if source is None:
            return True
        treatment = source.treatment(entry.source.version)
        if treatment is None or _is_closed(source, treatment):
            return False
        hidden = treatment.mode is not GatewayMode.ROUTED and (treatment.masquerade or treatment.source is not None)
        return destination is not None or not hidden

    def _enters(self, destination: BridgeRules | None, entry: TrackedConnection) -> bool:
        if destination is None:
            return True
        treatment = destination.treatment(entry.destination.version)
        if treatment is None or _is_closed(destination, treatment):
            return False
        if treatment.mode is GatewayMode.UNPROTECTED or destination.trusted:
            return True  # An entry does not tell by which link it came.
        if treatment.mode is GatewayMode.ROUTED:
            return entry.protocol in _PINGS or (entry.destination, entry.protocol, entry.port) in self._opened
        return False

    def _home(self, address: Address) -> BridgeRules | None:
        """Return the network whose subnet an address is in."""
        homes = self._homes[address.version]
        covers = (ip_network((address, length), strict=False) for length in self._lengths[address.version])
        return next((homes[cover] for cover in covers if cover in homes), None)


def _is_closed(bridge: BridgeRules, treatment: Treatment) -> bool:
    return bridge.internal or treatment.mode is GatewayMode.ISOLATED


def _places(rule: Published | Opened) -> Iterator[tuple[int, int]]:
    first = rule.port if isinstance(rule, Published) else rule.target_port
    return ((PROTOCOLS[rule.protocol], first + step) for step in range(rule.count))
