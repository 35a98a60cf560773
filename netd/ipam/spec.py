"""What a create request says about addresses: read, checked by itself, and laid out on a subnet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

from netd.common.errors import BadRequest, Forbidden, ServerError
from netd.model import Pool, PoolSpec

_SMALLEST = 31
"""A gateway and one container."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One entry of ``IPAM.Config``, as text; "" is unset."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict)


def read(entries: Sequence[Asked]) -> PoolSpec:
    """Return what the entries ask for.  Raises BadRequest naming every value that cannot be."""
    if not entries:
        return PoolSpec()
    if len(entries) > 1:
        raise Forbidden("a network has one subnet: multiple subnets are not supported")
    [entry] = entries
    spec = PoolSpec(
        _network("subnet", entry.subnet),
        _address("gateway", entry.gateway),
        _network("ip-range", entry.ip_range),
        {name: found for name, text in entry.auxiliary.items() if (found := _address(f"address {name}", text))},
    )
    if wrong := [*_subnet_faults(spec.subnet), *_range_faults(spec), *_address_faults(spec)]:
        raise BadRequest(f"invalid network config: {'; '.join(wrong)}")
    return spec


def lay_out(spec: PoolSpec, subnet: IPv4Network) -> Pool:
    """Return the pool of a network on *subnet*; the gateway, if none is given, is the lowest address nobody speaks for.

    Raises ServerError, as Docker does, for a gateway or auxiliary address that is reserved or named twice.
    """
    gateway = spec.gateway or _free_gateway(spec, subnet)
    taken = dict.fromkeys(edges(subnet), "the subnet's own")
    if gateway in taken:
        raise ServerError(f"failed to allocate gateway ({gateway}): Address already in use: it is {taken[gateway]}")
    taken[gateway] = "the gateway's"
    for name, address in spec.auxiliary.items():
        if address in taken:
            raise ServerError(
                f"failed to allocate secondary ip address ({name}:{address}): Address already in use:"
                f" it is {taken[address]}"
            )
        taken[address] = f"the auxiliary address {name}"
    return Pool(subnet, gateway, spec.ip_range, dict(spec.auxiliary))


def edges(subnet: IPv4Network) -> tuple[IPv4Address, ...]:
    """Return the addresses that nobody can have: network and broadcast, where there are such."""
    return () if subnet.prefixlen >= _SMALLEST else (subnet.network_address, subnet.broadcast_address)


def _free_gateway(spec: PoolSpec, subnet: IPv4Network) -> IPv4Address:
    spoken_for = {*edges(subnet), *spec.auxiliary.values()}
    for address in spec.ip_range or subnet:
        if address not in spoken_for:
            return address
    raise ServerError(f"failed to allocate gateway (): no available addresses on {spec.ip_range or subnet}")


def _network(what: str, text: str) -> IPv4Network | None:
    if not text:
        return None
    if "/" not in text:
        raise BadRequest(f"invalid {what} {text}: it has no '/'; write it like 172.18.0.0/16")
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        raise BadRequest(f"invalid {what} {text}: write it like 172.18.0.0/16") from None
    if isinstance(found, IPv6Network):
        raise BadRequest(f"invalid {what} {text}: IPv6 is not supported")
    exact = IPv4Address(text.partition("/")[0])
    if exact != found.network_address:
        raise BadRequest(f"invalid network config: invalid {what} {text}: it should be {found}")
    return found


def _address(what: str, text: str) -> IPv4Address | None:
    if not text:
        return None
    try:
        return IPv4Address(text)
    except ValueError:
        raise BadRequest(f"invalid {what} {text}: it is not an IPv4 address") from None


def _subnet_faults(subnet: IPv4Network | None) -> list[str]:
    if subnet is None or subnet.network_address.is_unspecified:
        return []
    if subnet.prefixlen > _SMALLEST:
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
    if not inner.subnet_of(subnet):
        return [f"invalid ip-range {inner}: parent subnet {subnet} doesn't contain ip-range"]
    return []


def _address_faults(spec: PoolSpec) -> list[str]:
    named = [(f"auxiliary address {name}", address) for name, address in spec.auxiliary.items()]
    named += [("gateway", spec.gateway)] if spec.gateway else []
    return [fault for what, address in named if (fault := _outside(what, address, spec.subnet))]


def _outside(what: str, address: IPv4Address, subnet: IPv4Network | None) -> str | None:
    if subnet is None:
        return f"invalid {what} {address}: give the subnet that contains it"
    if address not in subnet:
        return f"invalid {what} {address}: parent subnet {subnet} doesn't contain this address"
    return None
