"""Choosing what an endpoint gets: interface name, address, MAC.  Takes from the indexes, touches nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Interface

from msgspec.structs import replace

from netd.api import EndpointSettings, IPAMConfig
from netd.common.errors import BadRequest, Forbidden, ServerError
from netd.common.ids import new_id, short
from netd.drivers import Driver, options
from netd.engine.asked import links
from netd.engine.state import State
from netd.ipam.addresses import AUXILIARY, EDGE, GATEWAY, AddressTaken, Exhausted
from netd.model import Endpoint, Network, Sandbox

IFNAME = options.PREFIX + "endpoint.ifname"
_GATEWAY_KEY = "DefaultGatewayIPv4"
_MAC = re.compile(r"([0-9a-fA-F]{2})([:-][0-9a-fA-F]{2}){5}\Z")
_INTERFACE = re.compile(r"(?!\.{1,2}\Z|lo\Z)[^\s/:%]{1,15}\Z")
_RESERVED = {
    GATEWAY: "the gateway",
    EDGE: "the first or last, which nobody can have, of the subnet",
    AUXILIARY: "an auxiliary address",
}
_OPERATIONAL = {
    "network_id": "",
    "endpoint_id": "",
    "gateway": "",
    "ip_address": "",
    "ip_prefix_len": 0,
    "ipv6_gateway": "",
    "global_ipv6_address": "",
    "global_ipv6_prefix_len": 0,
    "dns_names": None,
}


def endpoint(state: State, sandbox: Sandbox, network: Network, driver: Driver, asked: EndpointSettings) -> Endpoint:
    """Return an endpoint with all it needs; its address is taken from the network's.

    Raises BadRequest for settings that can never be met, Forbidden for an address that somebody has.
    """
    check(network, asked)
    found = Endpoint(id=new_id(), network=network.id, asked=replace(asked, **_OPERATIONAL))
    if not driver.traits.addressed:
        return found
    interface = _interface(sandbox, asked)
    if network.pool is None:
        return replace(found, interface=interface, mac=_mac(asked.mac_address) or _random_mac(found.id))
    address = _address(state, sandbox, network, asked)
    return replace(
        found,
        interface=interface,
        address=IPv4Interface((address, network.pool.subnet.prefixlen)),
        mac=_mac(asked.mac_address) or "02:42:" + address.packed.hex(":"),
        gateway=None if network.internal else network.pool.auxiliary.get(_GATEWAY_KEY, network.pool.gateway),
    )


def release(state: State, endpoints: Iterable[Endpoint]) -> None:
    """Give the endpoints' addresses back."""
    for one in endpoints:
        if one.address is not None and state.has_network(one.network):
            state.addresses(one.network).release(one.address.ip)


def check(network: Network, asked: EndpointSettings) -> None:
    """Raise BadRequest when the settings cannot be those of an endpoint of *network*."""
    if wrong := list(_faults(network, asked)):
        raise BadRequest(f"invalid endpoint settings: {'; '.join(wrong)}")
    options.refuse_unknown(asked.driver_opts or {}, (IFNAME,), "endpoints")
    links(asked.links or ())


def _faults(network: Network, asked: EndpointSettings) -> Iterator[str]:
    if asked.ipam_config is not None:
        yield from _address_faults(network, asked.ipam_config)
    if network.predefined and asked.aliases:
        yield "network-scoped aliases are only supported for user-defined networks"
    for alias in asked.aliases or ():
        if alias.split() != [alias]:
            yield f"invalid alias {alias!r}: it may not be empty or contain spaces"
    if asked.mac_address and not _mac(asked.mac_address):
        yield f"address {asked.mac_address}: invalid MAC address"
    interface = (asked.driver_opts or {}).get(IFNAME, "")
    if interface and not _INTERFACE.match(interface):
        yield f"invalid interface name {interface!r}: it has up to 15 characters, without spaces, '/', ':' and '%'"


def _address_faults(network: Network, asked: IPAMConfig) -> Iterator[str]:
    if asked.ipv4_address and network.predefined:
        yield "user-specified IP address is supported on user defined networks only"
    elif asked.ipv4_address and not _usable(asked.ipv4_address):
        yield f"invalid IPv4 address: {asked.ipv4_address}"
    if asked.ipv6_address:
        yield f"IPv6 address {asked.ipv6_address} cannot be given: IPv6 is not supported"
    if asked.link_local_ips:
        yield f"link-local address {asked.link_local_ips[0]} cannot be given: LinkLocalIPs is not supported"


def _usable(text: str) -> bool:
    try:
        return not IPv4Address(text).is_unspecified
    except AddressValueError:
        return False


def _mac(text: str) -> str:
    """Return the address of one interface in its usual form; "" when *text* is none."""
    if not _MAC.match(text) or int(text[:2], 16) & 1:
        return ""
    return text.lower().replace("-", ":")


def _random_mac(identifier: str) -> str:
    return "02:42:" + bytes.fromhex(identifier[:8]).hex(":")


def _interface(sandbox: Sandbox, asked: EndpointSettings) -> str:
    """Return the name that was asked for, or the lowest free ``eth<n>``."""
    used = {one.interface for one in sandbox.endpoints}
    name = (asked.driver_opts or {}).get(IFNAME, "")
    if name in used:
        raise BadRequest(f"interface name {name} is taken in container {sandbox.name}; choose another {IFNAME}")
    return name or next(free for number in range(len(used) + 1) if (free := f"eth{number}") not in used)


def _address(state: State, sandbox: Sandbox, network: Network, asked: EndpointSettings) -> IPv4Address:
    addresses = state.addresses(network.id)
    wanted = asked.ipam_config.ipv4_address if asked.ipam_config else ""
    if not wanted:
        try:
            return addresses.take_lowest(sandbox.id)
        except Exhausted:
            raise ServerError(
                f"no available IPv4 addresses on this network's address pools: {network.name} ({network.id})"
            ) from None
    address = IPv4Address(wanted)
    if address not in addresses.subnet:
        raise BadRequest(
            f"invalid endpoint settings: no configured subnet contains IP address {address}: network {network.name} has"
            f" {addresses.subnet}"
        )
    try:
        addresses.take(address, sandbox.id)
    except AddressTaken as taken:
        raise Forbidden(f"Address already in use: {address} is {_holder(state, network, taken)}") from None
    return address


def _holder(state: State, network: Network, taken: AddressTaken) -> str:
    if taken.holder in _RESERVED:
        return f"{_RESERVED[taken.holder]} of network {network.name}"
    owner = state.sandbox(taken.holder)
    return f"held by container {owner.name if owner else short(taken.holder)}"
