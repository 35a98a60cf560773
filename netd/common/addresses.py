"""Addresses of either family, as types that records can have.

``Address``, ``Subnet`` and ``Interface`` stand for the IPv4 or the IPv6 class of :mod:`ipaddress`.  To a type
checker they are unions; at run time they are classes that both belong to, because a decoder needs one class to ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

Family: TypeAlias = Literal[4, 6]
FAMILIES: tuple[Family, Family] = (4, 6)

if TYPE_CHECKING:
    Address: TypeAlias = IPv4Address | IPv6Address
    Subnet: TypeAlias = IPv4Network | IPv6Network
    Interface: TypeAlias = IPv4Interface | IPv6Interface
else:

    class _EitherFamily(type):
        def __instancecheck__(cls, one: object) -> bool:
            return isinstance(one, cls.members)

    class Address(metaclass=_EitherFamily):
        members = (IPv4Address, IPv6Address)

    class Subnet(metaclass=_EitherFamily):
        members = (IPv4Network, IPv6Network)

    class Interface(metaclass=_EitherFamily):
        """An address with the length of its subnet's prefix."""

        members = (IPv4Interface, IPv6Interface)


EVERY_IPV4 = IPv4Address("0.0.0.0")
EVERY_IPV6 = IPv6Address("::")

READERS: dict[Any, Callable[[str], Any]] = {
    Address: ip_address,
    Subnet: ip_network,
    Interface: ip_interface,
    **{kind: kind for kind in (IPv4Address, IPv4Network, IPv4Interface, IPv6Address, IPv6Network, IPv6Interface)},
}
"""From a type to what makes one of a text; raises ValueError."""


def overlap(one: Subnet, other: Subnet) -> bool:
    """Tell whether two subnets share an address; those of different families never do."""
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.overlaps(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.overlaps(other)


def inside(inner: Subnet, outer: Subnet) -> bool:
    """Tell whether all of *inner* is in *outer*."""
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def is_usable(text: str, family: Family) -> bool:
    """Tell whether *text* is an address of the family that somebody can have."""
    try:
        found = ip_address(text)
    except ValueError:
        return False
    return found.version == family and not found.is_unspecified


def address_sort_key(address: Address) -> tuple[int, int]:
    """Return what to sort addresses of both families by: IPv4 first."""
    return address.version, int(address)
