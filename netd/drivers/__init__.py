"""Drivers: what turns a network and its endpoints into facts and rules.

A driver is pure: it says what the kernel should hold and never touches it.  Any installed package adds one through
an entry point of the group ``netd.drivers``: its name is the driver's, and it names a class made without arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from netd.common.addresses import EVERY_IPV4, EVERY_IPV6, Address, Family
from netd.facts import Fact
from netd.model import Endpoint, Network, NetworkSpec, Sandbox
from netd.portmap.rules import BridgeRules

EVERY_ADDRESS: tuple[Address, ...] = (EVERY_IPV4, EVERY_IPV6)
"""Of the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a driver's networks are like, for those who do not care how they are made."""

    addressed: bool = True
    """They have a subnet, and their endpoints an interface, an address, names and published ports."""
    on_host: bool = False
    """Their sandboxes share the host's network namespace."""
    single: bool = False
    """There is only the one that netd makes itself."""
    parent: str = ""
    """The option that names a link of the host, which has to be there, that its networks stand on."""
    segment_size: int = 0
    """How many endpoints one device of the host takes; 0 is any number."""
    most_segments: int = 1
    """How many devices one network can have."""
    absent: bool = False
    """It is not installed any more: its networks can only be removed."""


@runtime_checkable
class Driver(Protocol):
    traits: Traits

    def validate(self, spec: NetworkSpec) -> None:
        """Raise BadRequest naming the option that cannot be served.  What passes here, the other methods can read."""

    def device(self, network: Network) -> str | None:
        """Return the link of the host that the network stands on; no two networks may have the same."""

    def has_gateway(self, spec: NetworkSpec, family: Family) -> bool:
        """Tell whether an address of the family's subnet is set aside for a gateway when nobody names one."""

    def network_facts(self, network: Network) -> tuple[Fact, ...]:
        """Return what the kernel should hold while the network exists."""

    def rules(self, network: Network) -> BridgeRules | None:
        """Return how the firewall should treat the network's device."""

    def endpoint_facts(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> tuple[Fact, ...]:
        """Return what the kernel should hold, besides the sandbox's namespace and default route, for one endpoint."""

    def binding_addresses(self, network: Network) -> tuple[Address, ...]:
        """Return the addresses of the host on which ports are published when nobody names one, one of a family.

        Those of a family that the container does not have are passed over.  None at all: nothing can be published.
        """
