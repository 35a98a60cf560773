"""What becomes of a sandbox's wishes in each family, by the network that publishes for it there.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from msgspec.structs import replace

from netd.common.addresses import Address, Family
from netd.model import Wish


@dataclass(frozen=True, slots=True)
class Way:
    """How ports of one family are published."""

    usual: tuple[Address, ...] = ()
    """Addresses of the host for ports of which none is named."""
    local: bool = False
    """Only for the host itself: nothing but its loopback addresses can be asked for."""
    routed: bool = False
    """At the sandbox's own address: no port of the host is taken."""

    def serves(self, address: Address) -> bool:
        return not self.local or address.is_loopback


Ways: TypeAlias = Mapping[Family, Way]
"""Families in which nothing leads to the sandbox are left out."""


def resolved(wish: Wish, ways: Ways) -> Wish | None:
    """Put in the usual addresses and leave out those that nothing comes of; None where there is nothing to reserve."""
    translated = {family: way for family, way in ways.items() if not way.routed}
    usual = [address for way in translated.values() for address in way.usual]
    every = [one for address in wish.addresses for one in ([address] if address else usual)]
    addresses = tuple(dict.fromkeys(one for one in every if one.version in translated))
    addresses = tuple(one for one in addresses if translated[one.version].serves(one))
    return replace(wish, addresses=addresses) if addresses else None


def unserved(wishes: Iterable[Wish], ways: Ways) -> Iterator[tuple[Wish, Address]]:
    """Yield the addresses that are asked for by name and that nothing comes of."""
    for wish in wishes:
        for address in (one for one in wish.addresses if one is not None):
            way = ways.get(address.version)
            if way is None or not way.serves(address):
                yield wish, address
