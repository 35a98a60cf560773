"""Network drivers, which compute facts and firewall rules from a network and its endpoints.

A driver is pure: it describes the state of the kernel and never changes it.  An installed package adds a driver by an
entry point of the group ``netd.drivers``; the entry point's name is the driver's name, its object a class without
constructor arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from netd.common.addresses import EVERY_IPV4, EVERY_IPV6, Address, Family
from netd.facts import Fact
from netd.model import Endpoint, Network, NetworkSpec, Sandbox
from netd.portmap.rules import BridgeRules

EVERY_ADDRESS: tuple[Address, ...] = (EVERY_IPV4, EVERY_IPV6)
"""All addresses of the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Properties of a driver's networks that the engine needs."""

    addressed: bool = True
    """Networks have subnets; endpoints have an interface, an address, names and published ports."""
    on_host: bool = False
    """Sandboxes share the host's network namespace."""
    single: bool = False
    """The driver has only its predefined network."""
    parent: str = ""
    """The option that names the parent link, an existing link of the host."""
    segment_size: int = 0
    """Maximum number of endpoints per bridge segment; 0 is unlimited."""
    most_segments: int = 1
    """Maximum number of bridge segments per network."""
    absent: bool = False
    """The driver is not installed any more: its networks can only be removed."""


@runtime_checkable
class Driver(Protocol):
    """The interface of a network driver."""

    traits: Traits

    def validate(self, spec: NetworkSpec) -> None:
        """Raise BadRequest naming an option that is invalid.  The other methods accept every spec that passes."""

    def device(self, network: Network) -> str | None:
        """Return the name of the network's link on the host, which no other network may use; None without one."""

    def has_gateway(self, spec: NetworkSpec, family: Family) -> bool:
        """Return True if a gateway address is reserved in the family's subnet when the request names none."""

    def network_facts(self, network: Network) -> tuple[Fact, ...]:
        """Return the kernel's objects of the network."""

    def rules(self, network: Network) -> BridgeRules | None:
        """Return the firewall rules for the network's device; None for a network without rules."""

    def endpoint_facts(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> tuple[Fact, ...]:
        """Return the kernel's objects of an endpoint, except the sandbox's namespace and default route."""

    def binding_addresses(self, network: Network) -> tuple[Address, ...]:
        """Return the default host addresses for published ports, at most one per family.

        Addresses of a family that the container does not have are ignored.  Empty: ports cannot be published.
        """
