"""The IPAM part of a create request: parsing, validation, and the pool that it describes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Network

from netd.common.addresses import FAMILIES, Address, Family, Interface, Subnet, inside, overlap
from netd.common.errors import BadRequest, Forbidden, ServerError, join_faults
from netd.ipam.texts import read_address, read_prefix
from netd.model import NetworkSpec, Pool, PoolSpec

_POINT_TO_POINT = 31
"""IPv4 prefix length from which on a subnet has neither network nor broadcast address (RFC 3021)."""
_LINK_LOCAL = IPv6Network("fe80::/64")


@dataclass(frozen=True, slots=True)
class IpamConfig:
    """One entry of ``IPAM.Config``, as text; empty is unset."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _PoolEntry:
    """One entry of ``IPAM.Config``, parsed; prefixes may still have host bits set."""

    subnet: Interface | None
    ip_range: Interface | None
    gateway: Address | None
    auxiliary: Mapping[str, Address]

    @property
    def family(self) -> Family:
        """The family of the subnet, else that of the first field that is set."""
        fields = (self.subnet, self.ip_range, self.gateway, *self.auxiliary.values())
        version = next((value.version for value in fields if value is not None), 4)
        return 4 if version == 4 else 6


def read(entries: Sequence[IpamConfig], families: Collection[Family] = FAMILIES) -> tuple[PoolSpec, ...]:
    """Return the specs of the entries of *families*, IPv4 first; other entries are ignored, as in Docker.

    Raises BadRequest, with Docker's message, listing all faults.
    """
    found = sorted(map(_entry, entries), key=lambda entry: entry.family)
    found = [entry for entry in found if entry.family in families]
    if faults := [fault for entry in found for fault in _faults(entry)]:
        raise BadRequest(f"invalid network config:\n{join_faults(faults)}")
    return tuple(map(_spec, found))


def wanted(asked: NetworkSpec) -> list[tuple[Family, PoolSpec]]:
    """Return the specs of the request, then an empty one for each enabled family without a spec."""
    given: list[tuple[Family, PoolSpec]] = [
        (4 if spec.subnet is None or spec.subnet.version == 4 else 6, spec) for spec in asked.pools
    ]
    present = {family for family, _ in given}
    enabled = {4: asked.ipv4, 6: asked.ipv6}
    return [*given, *((family, PoolSpec()) for family in FAMILIES if enabled[family] and family not in present)]


def overlaps(wanted: Subnet, other: str) -> Forbidden:
    """Return Docker's error for a subnet that overlaps *other*."""
    return Forbidden(
        "invalid pool request: Pool overlaps with other one on this address space:"
        f" {wanted} overlaps {other}; choose another subnet"
    )


def make_pool(spec: PoolSpec, subnet: Subnet, *, has_gateway: bool = True) -> Pool:
    """Return the pool of a network on *subnet*; the default gateway is the lowest free address.

    Without *has_gateway*, only a gateway of the spec is reserved.  Raises ServerError, as Docker does, for a gateway
    or auxiliary address that is reserved or occurs twice.
    """
    gateway = spec.gateway or (_free_gateway(spec, subnet) if has_gateway else None)
    taken: dict[Address, str] = dict.fromkeys(edges(subnet), "the first or last of the subnet, which is reserved")
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
    """Return the reserved addresses: IPv4 network and broadcast, unless /31 or /32; IPv6 subnet-router anycast."""
    if subnet.version == 6:
        return (subnet.network_address,)
    narrow = subnet.prefixlen >= _POINT_TO_POINT
    return () if narrow else (subnet.network_address, subnet.broadcast_address)


def _free_gateway(spec: PoolSpec, subnet: Subnet) -> Address:
    reserved = {*edges(subnet), *spec.auxiliary.values()}
    for address in spec.ip_range or subnet:
        if address not in reserved:
            return address
    raise ServerError(
        "failed to allocate gateway (): no available addresses on this pool:"
        f" {spec.ip_range or subnet} has no free address; use a wider one"
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
