"""Choosing what an endpoint gets: interface name, address, MAC.  Takes from the indexes, touches nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from typing import Any

from msgspec.structs import replace

from netd.api import EndpointSettings, IPAMConfig
from netd.common import mac
from netd.common.addresses import FAMILIES, Address, Family, is_usable
from netd.common.errors import BadRequest, Forbidden, ServerError, join_faults
from netd.common.ids import new_id, short
from netd.drivers import Driver, endpoint_options, options
from netd.drivers.endpoint_options import IFNAME
from netd.engine.state.sandbox_request import parse_links
from netd.engine.state.state import State
from netd.ipam.address_pool import AUXILIARY, EDGE, GATEWAY, AddressPool, AddressTaken, Exhausted
from netd.model import Endpoint, Network, Sandbox

_ALIAS = re.compile(r"(?:\*\.)?[^*]+\Z")
_RESERVED = {
    GATEWAY: "the gateway",
    EDGE: "the first or last, which nobody can have, of the subnet",
    AUXILIARY: "an auxiliary address",
}


def allocate_endpoint(
    state: State, sandbox: Sandbox, network: Network, driver: Driver, asked: EndpointSettings
) -> Endpoint:
    """Return an endpoint with all it needs; its address is taken from the network's.

    Raises BadRequest for settings that can never be met, Forbidden for an address that somebody has.
    """
    check_settings(network, asked)
    found = Endpoint(id=new_id(), network=network.id, settings=asked.requested())
    if not driver.traits.addressed:
        return found
    segment = state.segment_with_room(network, driver.traits.segment_size)
    if segment is None:
        raise ServerError(
            f"network {network.name} is full: it has {len(state.members(network.id))} endpoints, as many as its bridges"
            " take; use another network"
        )
    interface = _interface(sandbox, network, asked)
    families = _families(sandbox, asked)
    address, address6 = _addresses(state, sandbox, network, asked, families)
    packed = address.ip.packed if address else bytes.fromhex(found.id[:8])
    return replace(
        found,
        interface=interface,
        mac=mac.normalize(asked.mac_address) or mac.generate(packed),
        address=address,
        address6=address6,
        gateway=_gateway(network, 4),
        gateway6=_gateway(network, 6) if 6 in families else None,
        segment=segment,
    )


def release(state: State, endpoints: Iterable[Endpoint]) -> None:
    """Give the endpoints' addresses back."""
    for one in endpoints:
        for address in one.addresses if state.has_network(one.network) else ():
            with suppress(KeyError):
                state.pool_containing(one.network, address.ip).release(address.ip)


def check_settings(network: Network, asked: EndpointSettings) -> None:
    """Raise BadRequest when the settings cannot be those of an endpoint of *network*."""
    if wrong := list(_faults(network, asked)):
        raise BadRequest("invalid endpoint settings:\n" + join_faults(wrong))
    options.refuse_unknown(asked.driver_opts or {}, endpoint_options.KNOWN, "endpoints")
    parse_links(asked.links or ())


def _faults(network: Network, asked: EndpointSettings) -> Iterator[str]:
    if asked.ipam_config is not None:
        yield from _address_faults(network, asked.ipam_config)
    if network.predefined and asked.aliases:
        yield "network-scoped aliases are only supported for user-defined networks"
    for alias in asked.aliases or ():
        if alias.split() != [alias]:
            yield f"invalid alias {alias!r}: it may not be empty or contain spaces"
        elif not _ALIAS.match(alias):
            yield f"invalid alias {alias!r}: a * stands alone before the first dot, as in *.app"
    if asked.mac_address and not mac.normalize(asked.mac_address):
        yield f"address {asked.mac_address}: invalid MAC address"
    yield from endpoint_options.faults(asked.driver_opts or {})


def _address_faults(network: Network, asked: IPAMConfig) -> Iterator[str]:
    given: dict[Family, str] = {4: asked.ipv4_address, 6: asked.ipv6_address}
    if network.predefined and any(given.values()):
        yield "user-specified IP address is supported on user-defined networks only"
        return
    for family, text in given.items():
        if text and not is_usable(text, family):
            yield f"invalid IPv{family} address: {text}"
    for text in asked.link_local_ips or ():
        if not is_usable(text, 4) and not is_usable(text, 6):
            yield f"invalid link-local IP address: {text}"
        elif not ip_address(text).is_link_local:
            yield f"invalid link local IP address: {text}"
        else:
            yield f"link-local address {text} cannot be given: LinkLocalIPs is not supported; leave it out"


def _interface(sandbox: Sandbox, network: Network, asked: EndpointSettings) -> str:
    """Return the name that was asked for, or the lowest free ``eth<n>``, or whatever the network calls them."""
    used = {one.interface for one in sandbox.endpoints}
    name = (asked.driver_opts or {}).get(IFNAME, "")
    if name in used:
        raise BadRequest(f"interface name {name} is taken in container {sandbox.name}; choose another {IFNAME}")
    prefix = options.interface_prefix(network.options)
    return name or next(free for number in range(len(used) + 1) if (free := f"{prefix}{number}") not in used)


def _gateway(network: Network, family: Family) -> Any:
    pool = network.pool(family)
    return None if pool is None or network.internal else pool.auxiliary.get(options.GATEWAYS[family], pool.gateway)


def _families(sandbox: Sandbox, asked: EndpointSettings) -> tuple[Family, ...]:
    """Return what the container can have: where IPv6 is switched off inside, it gets nothing of it."""
    return (4,) if endpoint_options.without_ipv6(sandbox.sysctls, asked.driver_opts or {}) else FAMILIES


def _addresses(
    state: State, sandbox: Sandbox, network: Network, asked: EndpointSettings, families: Sequence[Family]
) -> tuple[IPv4Interface | None, IPv6Interface | None]:
    """Take an address of each family that the network has; when one cannot be had, none is taken."""
    config = asked.ipam_config or IPAMConfig()
    address = _address(state, sandbox, network, 4, config.ipv4_address)
    try:
        address6 = _address(state, sandbox, network, 6, config.ipv6_address) if 6 in families else None
    except BaseException:
        if address is not None:
            state.pool_containing(network.id, address[0]).return_unused(address[0])
        raise
    return (IPv4Interface(address) if address else None, IPv6Interface(address6) if address6 else None)


def _address(state: State, sandbox: Sandbox, network: Network, family: Family, wanted: str) -> tuple[Any, int] | None:
    """Return an address, with the length of its subnet's prefix, that is *wanted*, its former one, or the next."""
    pools = state.addresses(network.id, family)
    if wanted:
        address, pool = _wanted(network, ip_address(wanted), pools)
        try:
            pool.take(address, sandbox.id)
        except AddressTaken as taken:
            raise Forbidden(f"Address already in use: {address} is {_holder(state, network, taken)}") from None
        return address, pool.subnet.prefixlen
    if (again := _former(state, sandbox, network, pools)) is not None:
        return again
    for pool in pools:
        try:
            return pool.take_next(sandbox.id), pool.subnet.prefixlen
        except Exhausted:
            continue
    if pools:
        raise ServerError(
            f"no available IPv{family} addresses on this network's address pools: {network.name} ({network.id})"
        )
    return None


def _former(state: State, sandbox: Sandbox, network: Network, pools: Sequence[AddressPool]) -> tuple[Any, int] | None:
    """Take what a container of this name had on the network last, if nobody else has it."""
    for address in state.address_history.last_addresses(network.id, sandbox.name):
        for pool in pools:
            if address in pool.subnet and pool.take_if_free(address, sandbox.id):
                return address, pool.subnet.prefixlen
    return None


def _wanted(network: Network, address: Address, pools: Sequence[AddressPool]) -> tuple[Address, AddressPool]:
    for pool in pools:
        if address in pool.subnet:
            return address, pool
    subnets = ", ".join(str(pool.subnet) for pool in pools) or f"no IPv{address.version}"
    raise BadRequest(
        f"invalid endpoint settings:\nno configured subnet contains IP address {address}: network {network.name} has"
        f" {subnets}"
    )


def _holder(state: State, network: Network, taken: AddressTaken) -> str:
    if taken.holder in _RESERVED:
        return f"{_RESERVED[taken.holder]} of network {network.name}"
    if (owner := state.sandbox(taken.holder)) is not None:
        return f"held by container {owner.name}"
    reserved = state.reservations.get(taken.holder)
    return f"kept for container {reserved.name if reserved else short(taken.holder)}, which declared it"
