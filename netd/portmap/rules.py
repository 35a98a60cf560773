"""The ruleset of the firewall as one value, independent of the backend.  Pure.

Both backends (``kernel/firewall/nftables``, ``kernel/firewall/iptables``) bring the kernel to the state of a
:class:`Ruleset`, which is their only input about networks and containers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from netd.common.addresses import FAMILIES, Address, Family, Subnet

Protocol: TypeAlias = Literal["tcp", "udp", "sctp"]


FORWARD_MARK = 0x10000000
"""The bit of the packet mark of admitted packets where ``accept_fwmark`` names no other."""


class GatewayMode(StrEnum):
    """Connections between containers of a network and hosts outside it (Docker's ``gateway_mode_*``)."""

    NAT = "nat"
    """Inbound to published ports only, at an address of the host."""
    UNPROTECTED = "nat-unprotected"
    """As NAT; in addition, all ports are open at the containers' own addresses."""
    ROUTED = "routed"
    """No NAT; inbound pings and the published ports at the containers' own addresses."""
    ISOLATED = "isolated"
    """No connections; the bridge has no address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """The rules for packets of one family of one bridge."""

    mode: GatewayMode = GatewayMode.NAT
    masquerade: bool = True
    """Source NAT to an address of the host for outbound packets; never on internal or routed networks."""
    source: Address | None = None
    """The address for source NAT; None: the address of the outgoing link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeRules:
    """The rules for one bridge."""

    name: str
    subnets: tuple[Subnet, ...] = ()
    """All subnets of the network; packets from the bridge with another source are not forwarded."""
    internal: bool = False
    """Nothing is forwarded in or out; ports published on 127.0.0.0/8 and ::1 are reachable from the host."""
    isolated: bool = False
    """Containers do not reach each other by routing through the host either, except at published ports."""
    trusted: tuple[str, ...] = ()
    """Links of the host from which all ports of the containers' own addresses are reachable."""
    ipv4: Treatment | None = Treatment()
    """None: the bridge has no IPv4."""
    ipv6: Treatment | None = None

    def treatment(self, family: Family) -> Treatment | None:
        return self.ipv4 if family == 4 else self.ipv6


@dataclass(frozen=True, slots=True)
class Published:
    """Destination NAT of ``count`` host ports from ``port`` on to the ports of a container from ``target_port`` on.

    ``address`` and ``target`` have one family; 0.0.0.0 and :: mean all addresses of the host in it.
    """

    protocol: str
    address: Address
    port: int
    target: Address
    target_port: int
    count: int = 1
    allow: tuple[Subnet, ...] = ()
    """Allowed sources of connections to the host address and port; empty allows all."""


@dataclass(frozen=True, slots=True)
class Opened:
    """``count`` ports of a container that are open at its own address: the published ports of routed networks."""

    protocol: str
    target: Address
    target_port: int
    count: int = 1
    allow: tuple[Subnet, ...] = ()
    """Allowed sources of connections; empty allows all."""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The rules of all networks and published ports."""

    bridges: frozenset[BridgeRules] = field(default_factory=frozenset)
    published: frozenset[Published] = field(default_factory=frozenset)
    opened: frozenset[Opened] = field(default_factory=frozenset)
    respect: bool = False
    """Inbound packets to published ports pass the host's own input chains first; ignored by ``change_firewall``."""
    over_budget: frozenset[Address] = frozenset()
    """Sources whose new connections are dropped; established connections pass."""

    def __bool__(self) -> bool:
        return bool(self.bridges or self.published or self.opened or self.over_budget)

    @property
    def forwards(self) -> frozenset[Family]:
        """The families in which the bridges need IP forwarding."""
        return forwards(self.bridges)


@dataclass(frozen=True, slots=True)
class ForwardMark:
    """Bits of the packet mark that are set on forwarded packets which the rules admit, before other programs' rules."""

    bits: int
    kept: bool = False
    """Whether the bits stay set when the packet leaves the host."""


@dataclass(frozen=True, slots=True)
class ForwardPolicy:
    """How netd treats other programs' forward chains: the settings ``host_forward`` and ``accept_fwmark``."""

    insert: bool = True
    """Permit admitted packets in chains that would drop them."""
    fwmark: int = 0
    """Bits of the mark that the operator's own rules match; 0: none."""

    @property
    def mark(self) -> ForwardMark | None:
        """The mark that netd's rules set on admitted packets; None: none."""
        if self.fwmark:
            return ForwardMark(self.fwmark, kept=True)
        return ForwardMark(FORWARD_MARK) if self.insert else None


@dataclass(frozen=True, slots=True)
class RulesetChange:
    """The rules that one change removes and adds; the cost of applying it does not depend on the whole ruleset."""

    removed: Ruleset = field(default_factory=Ruleset)
    added: Ruleset = field(default_factory=Ruleset)

    @classmethod
    def between(cls, old: Ruleset, new: Ruleset) -> RulesetChange:
        """Return the change from *old* to *new*."""
        return cls(_without(old, new), _without(new, old))


def forwards(bridges: Iterable[BridgeRules]) -> frozenset[Family]:
    """Return the families in which *bridges* need IP forwarding."""
    found: set[Family] = set()
    for bridge in bridges:
        found.update(family for family in FAMILIES if bridge.treatment(family) and not bridge.internal)
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
