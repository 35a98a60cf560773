"""What a create request says about addresses: read, checked by itself, and laid out on a subnet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Network

from netd.common.addresses import FAMILIES, Address, Family, Interface, Subnet, inside, overlap
from netd.common.errors import BadRequest, Forbidden, ServerError, join_faults
from netd.ipam.texts import read_address, read_prefix
from netd.model import NetworkSpec, Pool, PoolSpec

_POINT_TO_POINT = 31
"""An IPv4 subnet as narrow as this has neither a network's address nor a broadcast's."""
_LINK_LOCAL = IPv6Network("fe80::/64")


@dataclass(frozen=True, slots=True)
class IpamConfig:
    """One entry of ``IPAM.Config``, as text; "" is unset."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _PoolEntry:
    """The same, read; prefixes still have the bits that they should not have."""

    subnet: Interface | None
    ip_range: Interface | None
    gateway: Address | None
    auxiliary: Mapping[str, Address]

    @property
    def family(self) -> Family:
        """Return the subnet's, or that of whatever is there."""
        there = (self.subnet, self.ip_range, self.gateway, *self.auxiliary.values())
        version = next((one.version for one in there if one is not None), 4)
        return 4 if version == 4 else 6


def read(entries: Sequence[IpamConfig], families: Collection[Family] = FAMILIES) -> tuple[PoolSpec, ...]:
    """Return what the entries of these families ask for, IPv4 first; the others are passed over, as Docker does.

    Raises BadRequest, in Docker's words, with everything that cannot be.
    """
    found = sorted(map(_entry, entries), key=lambda one: one.family)
    found = [one for one in found if one.family in families]
    if wrong := [fault for one in found for fault in _faults(one)]:
        raise BadRequest(f"invalid network config:\n{join_faults(wrong)}")
    return tuple(map(_spec, found))


def wanted(asked: NetworkSpec) -> list[tuple[Family, PoolSpec]]:
    """Return each pool that is asked for, then one for each family that is on and not asked about."""
    given: list[tuple[Family, PoolSpec]] = [
        (4 if one.subnet is None or one.subnet.version == 4 else 6, one) for one in asked.pools
    ]
    there = {family for family, _ in given}
    on = {4: asked.ipv4, 6: asked.ipv6}
    return [*given, *((family, PoolSpec()) for family in FAMILIES if on[family] and family not in there)]


def overlaps(wanted: Subnet, other: str) -> Forbidden:
    return Forbidden(
        "invalid pool request: Pool overlaps with other one on this address space:"
        f" {wanted} overlaps {other}; choose another subnet"
    )


def make_pool(spec: PoolSpec, subnet: Subnet, *, has_gateway: bool = True) -> Pool:
    """Return the pool of a network on *subnet*; the gateway, if none is given, is the lowest address nobody speaks for.

    Without *has_gateway* only a given one is set aside.  Raises ServerError, as Docker does, for a gateway or
    auxiliary address that is reserved or named twice.
    """
    gateway = spec.gateway or (_free_gateway(spec, subnet) if has_gateway else None)
    taken: dict[Address, str] = dict.fromkeys(edges(subnet), "the first or last of the subnet, which nobody can have")
    if gateway in taken:
        raise ServerError(f"failed to allocate gateway ({gateway}): Address already in use: it is {taken[gateway]}")
    if gateway is not None:
        taken[gateway] = "the gateway"
    for name, address in spec.auxiliary.items():
        if address in taken:
            raise ServerError(
                f"failed to allocate secondary ip address ({name}:{address}): Address already in use:"
                f" it is {taken[address]}"
            )
        taken[address] = f"the auxiliary address {name}"
    return Pool(subnet, gateway, spec.ip_range, dict(spec.auxiliary))


def edges(subnet: Subnet) -> tuple[Address, ...]:
    """Return the addresses that nobody can have: IPv4 network and broadcast where there are such, IPv6 anycast."""
    if subnet.version == 6:
        return (subnet.network_address,)
    narrow = subnet.prefixlen >= _POINT_TO_POINT
    return () if narrow else (subnet.network_address, subnet.broadcast_address)


def _free_gateway(spec: PoolSpec, subnet: Subnet) -> Address:
    routed_ranges = {*edges(subnet), *spec.auxiliary.values()}
    for address in spec.ip_range or subnet:
        if address not in routed_ranges:
            return address
    raise ServerError(
        "failed to allocate gateway (): no available addresses on this pool:"
        f" {spec.ip_range or subnet} has none to spare; make it wider"
    )


def _entry(asked: IpamConfig) -> _PoolEntry:
    auxiliary = {name: found for name, text in asked.auxiliary.items() if (found := read_address(text))}
    return _PoolEntry(read_prefix(asked.subnet), read_prefix(asked.ip_range), read_address(asked.gateway), auxiliary)


def _spec(entry: _PoolEntry) -> PoolSpec:
    return PoolSpec(
        entry.subnet.network if entry.subnet else None,
        entry.gateway,
        entry.ip_range.network if entry.ip_range else None,
        dict(entry.auxiliary),
    )


def _faults(entry: _PoolEntry) -> Iterator[str]:
    if entry.subnet is not None:
        yield from _subnet_faults(entry.subnet)
    if entry.ip_range is not None:
        yield from _range_faults(entry.ip_range, entry.subnet)
    named = [(f"gateway {entry.gateway}", entry.gateway)] if entry.gateway else []
    named += [(f"auxiliary address {name}", address) for name, address in entry.auxiliary.items()]
    for what, address in named:
        yield from _address_faults(what, address, entry.subnet)


def _subnet_faults(asked: Interface) -> Iterator[str]:
    subnet: Subnet = asked.network
    if asked.ip != subnet.network_address:
        yield f"invalid subnet {asked}: it should be {subnet}"
    if subnet.network_address.is_multicast:
        yield f"multicast subnet '{asked}' is not allowed"
    elif subnet.network_address.is_loopback:
        yield f"invalid subnet {asked}: loopback addresses are not for networks"
    elif subnet != _LINK_LOCAL and overlap(subnet, _LINK_LOCAL) and not subnet.network_address.is_unspecified:
        yield f"'{asked}' clashes with the Link-Local prefix '{_LINK_LOCAL}'"


def _range_faults(asked: Interface, parent: Interface | None) -> Iterator[str]:
    if parent is None:
        lacking = "parent subnet invalid Prefix doesn't contain ip-range; give the subnet as well"
        yield f"invalid ip-range {asked}: {lacking}"
        return
    if asked.version != parent.version:
        yield f"invalid ip-range {asked}: parent subnet is an IPv{parent.version} block"
        return
    inner: Subnet = asked.network
    subnet: Subnet = parent.network
    if inner.prefixlen < subnet.prefixlen:
        yield f"invalid ip-range {asked}: CIDR block is bigger than its parent subnet {subnet}"
    if asked.ip != inner.network_address:
        yield f"invalid ip-range {asked}: it should be {inner}"
    if not (inside(inner, subnet) or inside(subnet, inner)) or subnet.network_address.is_unspecified:
        yield f"invalid ip-range {asked}: parent subnet {subnet} doesn't contain ip-range"


def _address_faults(what: str, address: Address, parent: Interface | None) -> Iterator[str]:
    if parent is None:
        lacking = "parent subnet invalid Prefix doesn't contain this address; give the subnet as well"
        yield f"invalid {what}: {lacking}"
    elif address.version != parent.version:
        yield f"invalid {what}: parent subnet is an IPv{parent.version} block"
    elif address not in parent.network or parent.ip.is_unspecified:
        yield f"invalid {what}: parent subnet {parent.network} doesn't contain this address"
