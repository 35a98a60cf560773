"""How a sandbox's ports are published in each family, as the network of its publishing endpoint requires.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from msgspec.structs import replace

from netd.common.addresses import Address, Family
from netd.model import PortRequest


@dataclass(frozen=True, slots=True)
class PublishPolicy:
    """How ports of one family are published."""

    default: tuple[Address, ...] = ()
    """Addresses of the host for port requests without one."""
    local: bool = False
    """The ports are reachable from the host only, so only loopback addresses are allowed as host addresses."""
    routed: bool = False
    """The ports are open at the sandbox's own address; no host port is used."""

    def serves(self, address: Address) -> bool:
        """Return True if ports can be published at *address*."""
        return not self.local or address.is_loopback


PolicyByFamily: TypeAlias = Mapping[Family, PublishPolicy]
"""A family in which no network of the sandbox publishes ports has no entry."""


def resolved(port_request: PortRequest, policies: PolicyByFamily) -> PortRequest | None:
    """Return the request with explicit host addresses, only those that *policies* translate; None without any."""
    translated = {family: policy for family, policy in policies.items() if not policy.routed}
    default = [address for policy in translated.values() for address in policy.default]
    every = [address for asked in port_request.addresses for address in ([asked] if asked else default)]
    addresses = tuple(dict.fromkeys(address for address in every if address.version in translated))
    addresses = tuple(address for address in addresses if translated[address.version].serves(address))
    return replace(port_request, addresses=addresses) if addresses else None


def unserved(port_requests: Iterable[PortRequest], policies: PolicyByFamily) -> Iterator[tuple[PortRequest, Address]]:
    """Yield the explicit addresses at which a request cannot be published."""
    for port_request in port_requests:
        for address in port_request.addresses:
            if address is None:
                continue
            policy = policies.get(address.version)
            if policy is None or not policy.serves(address):
                yield port_request, address
