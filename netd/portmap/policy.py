"""What becomes of a sandbox's wishes in each family, by the network that publishes for it there.  Pure."""

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

    usual: tuple[Address, ...] = ()
    """Addresses of the host for ports of which none is named."""
    local: bool = False
    """Only for the host itself: nothing but its loopback addresses can be asked for."""
    routed: bool = False
    """At the sandbox's own address: no port of the host is taken."""

    def serves(self, address: Address) -> bool:
        return not self.local or address.is_loopback


PolicyByFamily: TypeAlias = Mapping[Family, PublishPolicy]
"""Families in which nothing leads to the sandbox are left out."""


def resolved(port_request: PortRequest, policies: PolicyByFamily) -> PortRequest | None:
    """Put in the usual addresses and leave out those that nothing comes of; None where there is nothing to reserve."""
    translated = {family: policy for family, policy in policies.items() if not policy.routed}
    usual = [address for policy in translated.values() for address in policy.usual]
    every = [one for address in port_request.addresses for one in ([address] if address else usual)]
    addresses = tuple(dict.fromkeys(one for one in every if one.version in translated))
    addresses = tuple(one for one in addresses if translated[one.version].serves(one))
    return replace(port_request, addresses=addresses) if addresses else None


def unserved(port_requests: Iterable[PortRequest], policies: PolicyByFamily) -> Iterator[tuple[PortRequest, Address]]:
    """Yield the addresses that are asked for by name and that nothing comes of."""
    for port_request in port_requests:
        for address in (one for one in port_request.addresses if one is not None):
            policy = policies.get(address.version)
            if policy is None or not policy.serves(address):
                yield port_request, address
