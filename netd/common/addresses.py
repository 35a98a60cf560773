"""Types for addresses of either family, usable as field types of records.

``Address``, ``Subnet`` and ``Interface`` stand for the IPv4 or the IPv6 class of :mod:`ipaddress`.  For a type checker
they are unions; at run time they are classes of which both are instances, because msgspec's decoder hook gets a class.
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
from typing import TYPE_CHECKING, Literal, TypeAlias

Family: TypeAlias = Literal[4, 6]
FAMILIES: tuple[Family, Family] = (4, 6)

if TYPE_CHECKING:
    Address: TypeAlias = IPv4Address | IPv6Address
    Subnet: TypeAlias = IPv4Network | IPv6Network
    Interface: TypeAlias = IPv4Interface | IPv6Interface
else:

    class _EitherFamily(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, cls.members)

    class Address(metaclass=_EitherFamily):
        members = (IPv4Address, IPv6Address)

    class Subnet(metaclass=_EitherFamily):
        members = (IPv4Network, IPv6Network)

    class Interface(metaclass=_EitherFamily):
        """An address with its prefix length."""

        members = (IPv4Interface, IPv6Interface)


EVERY_IPV4 = IPv4Address("0.0.0.0")
EVERY_IPV6 = IPv6Address("::")

READERS: dict[object, Callable[[str], object]] = {
    Address: ip_address,
    Subnet: ip_network,
    Interface: ip_interface,
    **{kind: kind for kind in (IPv4Address, IPv4Network, IPv4Interface, IPv6Address, IPv6Network, IPv6Interface)},
}
"""Parsers by type; each raises ValueError for invalid text."""


def overlap(left: Subnet, right: Subnet) -> bool:
    """Return whether two subnets share an address; subnets of different families never do."""
    if isinstance(left, IPv4Network) and isinstance(right, IPv4Network):
        return left.overlaps(right)
    return isinstance(left, IPv6Network) and isinstance(right, IPv6Network) and left.overlaps(right)


def inside(inner: Subnet, outer: Subnet) -> bool:
    """Return whether *inner* is a subnet of *outer*."""
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def is_usable(text: str, family: Family) -> bool:
    """Return whether *text* is an address of *family*, other than the unspecified address."""
    try:
        found = ip_address(text)
    except ValueError:
        return False
    return found.version == family and not found.is_unspecified


def address_sort_key(address: Address) -> tuple[int, int]:
    """Return a sort key for addresses of both families; IPv4 sorts first."""
    return address.version, int(address)


def tcp_address(text: str) -> tuple[str, int]:
    """Return address and port of ``192.0.2.1:80`` or ``[2001:db8::1]:80``.  Raises ValueError."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    right = (":" in bare) == host.startswith("[") and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    try:
        if right:
            return str(ip_address(bare)), int(port)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no address with a port, as 127.0.0.1:9750 or [::1]:9750")
