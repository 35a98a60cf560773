"""What a create request says about addresses: read, checked by itself, and laid out on a subnet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from netd.common.addresses import Address, Subnet, inside
from netd.common.errors import BadRequest, ServerError
from netd.model import Pool, PoolSpec

_SMALLEST = 31
"""A gateway and one container."""
_NARROWEST_IPV6 = 127


@dataclass(frozen=True, slots=True)
class Asked:
    """One entry of ``IPAM.Config``, as text; "" is unset."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict)


def read(entries: Sequence[Asked]) -> tuple[PoolSpec, ...]:
    """Return what the entries ask for.  Raises BadRequest naming every value that cannot be."""
    found = tuple(map(_pool, entries))
    wrong = [fault for spec in found for fault in _faults(spec)]
    if wrong:
        raise BadRequest(f"invalid network config: {'; '.join(wrong)}")
    return found


def _pool(entry: Asked) -> PoolSpec:
    return PoolSpec(
        _network("subnet", entry.subnet),
        _address("gateway", entry.gateway),
        _network("ip-range", entry.ip_range),
        {name: found for name, text in entry.auxiliary.items() if (found := _address(f"address {name}", text))},
    )


def _faults(spec: PoolSpec) -> list[str]:
    return [*_subnet_faults(spec.subnet), *_range_faults(spec), *_address_faults(spec)]


def lay_out(spec: PoolSpec, subnet: Subnet, *, has_gateway: bool = True) -> Pool:
    """Return the pool of a network on *subnet*; the gateway, if none is given, is the lowest address nobody speaks for.

    Without *has_gateway* there is none but one that is given.

    Raises ServerError, as Docker does, for a gateway or auxiliary address that is reserved or named twice.
    """
    gateway = spec.gateway or (_free_gateway(spec, subnet) if has_gateway else None)
    taken: dict[Address | None, str] = dict.fromkeys(edges(subnet), "the subnet's own")
    if gateway in taken:
        raise ServerError(f"failed to allocate gateway ({gateway}): Address already in use: it is {taken[gateway]}")
    if gateway is not None:
        taken[gateway] = "the gateway's"
    for name, address in spec.auxiliary.items():
        if address in taken:
            raise ServerError(
                f"failed to allocate secondary ip address ({name}:{address}): Address already in use:"
                f" it is {taken[address]}"
            )
        taken[address] = f"the auxiliary address {name}"
    return Pool(subnet, gateway, spec.ip_range, dict(spec.auxiliary))


def edges(subnet: Subnet) -> tuple[Address, ...]:
    """Return the addresses that nobody can have: IPv4 network and broadcast, IPv6 anycast, where there are such."""
    if subnet.version == 6:
        return (subnet.network_address,) if subnet.prefixlen < _NARROWEST_IPV6 else ()
    return () if subnet.prefixlen >= _SMALLEST else (subnet.network_address, subnet.broadcast_address)


def _free_gateway(spec: PoolSpec, subnet: Subnet) -> Address:
    spoken_for = {*edges(subnet), *spec.auxiliary.values()}
    for address in spec.ip_range or subnet:
        if address not in spoken_for:
            return address
    raise ServerError(f"failed to allocate gateway (): no available addresses on {spec.ip_range or subnet}")


def _network(what: str, text: str) -> Subnet | None:
    if not text:
        return None
    if "/" not in text:
        raise BadRequest(f"invalid {what} {text}: it has no '/'; write it like 172.18.0.0/16")
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        raise BadRequest(f"invalid {what} {text}: write it like 172.18.0.0/16") from None
    exact = ip_address(text.partition("/")[0])
    if exact != found.network_address:
        raise BadRequest(f"invalid network config: invalid {what} {text}: it should be {found}")
    return found


def _address(what: str, text: str) -> Address | None:
    if not text:
        return None
    try:
        return ip_address(text)
    except ValueError:
        raise BadRequest(f"invalid {what} {text}: it is not an IPv4 address") from None


def _subnet_faults(subnet: Subnet | None) -> list[str]:
    if subnet is None or subnet.network_address.is_unspecified:
        return []
    if subnet.version == 4 and subnet.prefixlen > _SMALLEST:
        return [f"invalid subnet {subnet}: it is too small for a gateway and a container; use /30 or wider"]
    wrong = [kind for kind in ("multicast", "loopback", "link_local") if getattr(subnet.network_address, f"is_{kind}")]
    return [f"invalid subnet {subnet}: {kind.replace('_', '-')} addresses are not for networks" for kind in wrong]


def _range_faults(spec: PoolSpec) -> list[str]:
    inner, subnet = spec.ip_range, spec.subnet
    if inner is None:
        return []
    if subnet is None:
        return [f"invalid ip-range {inner}: give the subnet that contains it"]
    if inner.prefixlen < subnet.prefixlen:
        return [f"invalid ip-range {inner}: CIDR block is bigger than its parent subnet {subnet}"]
    if not inside(inner, subnet):
        return [f"invalid ip-range {inner}: parent subnet {subnet} doesn't contain ip-range"]
    return []


def _address_faults(spec: PoolSpec) -> list[str]:
    named = [(f"auxiliary address {name}", address) for name, address in spec.auxiliary.items()]
    named += [("gateway", spec.gateway)] if spec.gateway else []
    return [fault for what, address in named if (fault := _outside(what, address, spec.subnet))]


def _outside(what: str, address: Address, subnet: Subnet | None) -> str | None:
    if subnet is None:
        return f"invalid {what} {address}: give the subnet that contains it"
    if address not in subnet:
        return f"invalid {what} {address}: parent subnet {subnet} doesn't contain this address"
    return None
