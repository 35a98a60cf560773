"""The whole firewall as one value.

Pure.  A ruleset is what netd's nftables table holds besides its fixed chains: sets of bridges and
maps of published ports.  The chains never change, so a packet costs the same however much is published.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Literal, TypeAlias

Protocol: TypeAlias = Literal["tcp", "udp", "sctp"]


@dataclass(frozen=True, slots=True, order=True)
class Published:
    """``count`` host ports from ``port`` on lead to as many ports of a container from ``target_port`` on.

    ``address`` 0.0.0.0 stands for every address of the host.
    """

    protocol: str
    address: IPv4Address
    port: int
    target: IPv4Address
    target_port: int
    count: int = 1


@dataclass(frozen=True, slots=True, order=True)
class BridgeRules:
    """How the firewall treats one bridge."""

    name: str
    internal: bool = False
    """Nothing is forwarded in or out."""
    masquerade: bool = True
    """Hide what leaves to elsewhere behind the host's address."""
    isolated: bool = False
    """Its containers do not reach one another by way of the host either, except at published ports."""


@dataclass(frozen=True, slots=True)
class Ruleset:
    bridges: frozenset[BridgeRules] = field(default_factory=frozenset)
    published: frozenset[Published] = field(default_factory=frozenset)
