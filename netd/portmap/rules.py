"""The whole firewall as one value, whichever backend makes it true.

Pure.  Both backends (``kernel/nftables``, ``kernel/iptables``) bring the kernel to a :class:`Ruleset`; neither
knows anything else of networks and containers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from netd.common.addresses import FAMILIES, Address, Family, Subnet

Protocol: TypeAlias = Literal["tcp", "udp", "sctp"]


class GatewayMode(StrEnum):
    """How containers of a network are reached from elsewhere, and reach elsewhere (Docker's ``gateway_mode_*``)."""

    NAT = "nat"
    """From elsewhere only by what is published, at an address of the host."""
    UNPROTECTED = "nat-unprotected"
    """As NAT, and everything may come to the containers' own addresses."""
    ROUTED = "routed"
    """At their own addresses: pings, and the ports that are opened; nothing is translated."""
    ISOLATED = "isolated"
    """Not at all: the bridge itself has no address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """How one family's packets of one bridge are treated."""

    mode: GatewayMode = GatewayMode.NAT
    masquerade: bool = True
    """Hide what leaves to elsewhere behind the host's address; never on internal or routed networks."""
    source: Address | None = None
    """Hide it behind this address of the host rather than the one that the route out would give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeRules:
    """How the firewall treats one bridge."""

    name: str
    subnets: tuple[Subnet, ...] = ()
    """All of them; packets from the bridge with another source are nobody's."""
    internal: bool = False
    """Nothing is forwarded in or out, except what is published on 127.0.0.0/8 and ::1 for the host itself."""
    isolated: bool = False
    """Its containers do not reach one another by way of the host either, except at published ports."""
    trusted: tuple[str, ...] = ()
    """Links of the host from which everything may come to the containers' own addresses."""
    ipv4: Treatment | None = Treatment()
    """None: no IPv4 on this bridge."""
    ipv6: Treatment | None = None

    def treatment(self, family: Family) -> Treatment | None:
        return self.ipv4 if family == 4 else self.ipv6


@dataclass(frozen=True, slots=True)
class Published:
    """``count`` host ports from ``port`` on lead to as many ports of a container from ``target_port`` on.

    ``address`` and ``target`` are of one family; 0.0.0.0 and :: stand for every address of the host in it.
    """

    protocol: str
    address: Address
    port: int
    target: Address
    target_port: int
    count: int = 1
    allow: tuple[Subnet, ...] = ()
    """Whose connections may come, by the address and port that they came to; empty is everybody's."""


@dataclass(frozen=True, slots=True)
class Opened:
    """``count`` ports of a container that may be reached at its own address: the published ones of routed networks."""

    protocol: str
    target: Address
    target_port: int
    count: int = 1
    allow: tuple[Subnet, ...] = ()
    """Whose connections may come; empty is everybody's."""


@dataclass(frozen=True, slots=True)
class Ruleset:
    bridges: frozenset[BridgeRules] = field(default_factory=frozenset)
    published: frozenset[Published] = field(default_factory=frozenset)
    opened: frozenset[Opened] = field(default_factory=frozenset)
    respect: bool = False
    """What comes to a published port from outside must pass the host's own input chains first; fixed by ``reset``."""
    over_budget: frozenset[Address] = frozenset()
    """Sources whose new connections are dropped; established connections pass."""

    def __bool__(self) -> bool:
        return bool(self.bridges or self.published or self.opened or self.over_budget)

    @property
    def forwards(self) -> frozenset[Family]:
        """The families whose packets the host has to forward."""
        return forwards(self.bridges)


@dataclass(frozen=True, slots=True)
class RulesetChange:
    """What one change takes from the whole and adds to it, so that it costs what it changes."""

    removed: Ruleset = field(default_factory=Ruleset)
    added: Ruleset = field(default_factory=Ruleset)

    @classmethod
    def between(cls, had: Ruleset, wanted: Ruleset) -> RulesetChange:
        return cls(_without(had, wanted), _without(wanted, had))


def forwards(bridges: Iterable[BridgeRules]) -> frozenset[Family]:
    """Return the families whose packets the host has to forward for *bridges*."""
    found: set[Family] = set()
    for one in bridges:
        found.update(family for family in FAMILIES if one.treatment(family) and not one.internal)
        if len(found) == len(FAMILIES):
            break
    return frozenset(found)


def _without(rules: Ruleset, others: Ruleset) -> Ruleset:
    return Ruleset(
        rules.bridges - others.bridges,
        rules.published - others.published,
        rules.opened - others.opened,
        rules.respect,
        rules.over_budget - others.over_budget,
    )
