"""Selection of tracked connections that the firewall's rules would have dropped or translated.  Pure.

Such connections begin while the rules are absent because another program flushed them.  The restored rules accept
established connections, so the conntrack entries of these have to be deleted.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Protocol

from netd.common.addresses import Address, Subnet
from netd.portmap.rules import BridgeRules, GatewayMode, Opened, Published, Ruleset, Treatment

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_PING_PROTOCOLS = (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)


class TrackedConnection(Protocol):
    """A tracked connection: source, destination and port of the first packet, and the ends of the reply direction."""

    @property
    def protocol(self) -> int: ...
    @property
    def source(self) -> Address: ...
    @property
    def destination(self) -> Address: ...
    @property
    def port(self) -> int: ...
    @property
    def reply_source(self) -> Address: ...
    @property
    def reply_destination(self) -> Address: ...


class StrayFilter:
    """Selects the connections that one ruleset would have dropped or translated."""

    def __init__(self, rules: Ruleset, host_addresses: frozenset[Address]) -> None:
        self._host_addresses = host_addresses
        self._bridges: dict[int, dict[Subnet, BridgeRules]] = {4: {}, 6: {}}
        for bridge in rules.bridges:
            for subnet in bridge.subnets:
                self._bridges[subnet.version][subnet] = bridge
        self._prefix_lengths = {
            version: {subnet.prefixlen for subnet in subnets} for version, subnets in self._bridges.items()
        }
        self._published = {key for rule in rules.published for key in _port_keys(rule)}
        self._opened = {(rule.target, *key) for rule in rules.opened for key in _port_keys(rule)}

    def include(self, entry: TrackedConnection) -> bool:
        """Return whether *entry* is a stray connection."""
        if (entry.reply_source, entry.reply_destination) != (entry.destination, entry.source):
            return False  # The rules translated this connection, so they admitted it.
        if entry.destination in self._host_addresses or entry.destination.is_loopback:
            return (entry.protocol, entry.port) in self._published and entry.source not in self._host_addresses
        if entry.source in self._host_addresses or entry.destination.is_multicast:
            return False
        source, destination = self._bridge_of(entry.source), self._bridge_of(entry.destination)
        if source is destination:
            return False
        return not (self._may_leave(source, destination, entry) and self._may_enter(destination, entry))

    def _may_leave(self, source: BridgeRules | None, destination: BridgeRules | None, entry: TrackedConnection) -> bool:
        if source is None:
            return True
        treatment = source.treatment(entry.source.version)
        if treatment is None or _is_closed(source, treatment):
            return False
        translated = treatment.mode is not GatewayMode.ROUTED and (treatment.masquerade or treatment.source is not None)
        return destination is not None or not translated

    def _may_enter(self, destination: BridgeRules | None, entry: TrackedConnection) -> bool:
        if destination is None:
            return True
        treatment = destination.treatment(entry.destination.version)
        if treatment is None or _is_closed(destination, treatment):
            return False
        if treatment.mode is GatewayMode.UNPROTECTED or destination.trusted:
            return True  # A conntrack entry does not record the incoming link.
        if treatment.mode is GatewayMode.ROUTED:
            return entry.protocol in _PING_PROTOCOLS or (entry.destination, entry.protocol, entry.port) in self._opened
        return False

    def _bridge_of(self, address: Address) -> BridgeRules | None:
        """Return the bridge whose subnet contains *address*."""
        bridges, lengths = self._bridges[address.version], self._prefix_lengths[address.version]
        subnets = (ip_network((address, length), strict=False) for length in lengths)
        return next((bridges[subnet] for subnet in subnets if subnet in bridges), None)


def _is_closed(bridge: BridgeRules, treatment: Treatment) -> bool:
    return bridge.internal or treatment.mode is GatewayMode.ISOLATED


def _port_keys(rule: Published | Opened) -> Iterator[tuple[int, int]]:
    """Yield protocol number and port for each port of the rule."""
    first = rule.port if isinstance(rule, Published) else rule.target_port
    return ((PROTOCOLS[rule.protocol], first + offset) for offset in range(rule.count))
