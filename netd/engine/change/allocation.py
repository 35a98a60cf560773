"""Allocation of an endpoint's interface name, addresses and MAC; changes only the address pools of the state."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Interface, IPv6Interface, ip_address

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
from netd.facts import Bridge
from netd.ipam.address_pool import AUXILIARY, EDGE, GATEWAY, AddressPool, AddressTaken, Exhausted
from netd.model import Endpoint, Network, Sandbox

_ALIAS_PATTERN = re.compile(r"(?:\*\.)?[^*]+\Z")
_RESERVED = {
    GATEWAY: "the gateway",
    EDGE: "the first or last, which cannot be assigned, of the subnet",
    AUXILIARY: "an auxiliary address",
}


def allocate_endpoint(
    state: State, sandbox: Sandbox, network: Network, driver: Driver, requested: EndpointSettings
) -> Endpoint:
    """Return an endpoint whose addresses are allocated in the state; the caller releases them on failure.

    Raises BadRequest for invalid settings, Forbidden for an address in use, ServerError when nothing is free.
    """
    check_settings(network, requested)
    check_gateway_mac(network, driver, requested)
    _check_mac(state, network, requested)
    found = Endpoint(id=new_id(), network=network.id, settings=requested.requested())
    if not driver.traits.addressed:
        return found
    segment = state.segment_with_room(network, driver.traits.segment_size)
    if segment is None:
        raise ServerError(
            f"network {network.name} is full: it has {len(state.members(network.id))} endpoints, as many as its bridges"
            " take; use another network"
        )
    interface = _interface(sandbox, network, requested)
    families = _families(sandbox, requested)
    address, address6 = _addresses(state, sandbox, network, requested, families)
    packed = address.ip.packed if address else bytes.fromhex(found.id[:8])
    own_mac = mac.normalize(requested.mac_address) or _derived_mac(state, network, packed, found.id)
    return replace(
        found,
        interface=interface,
        mac=own_mac,
        announce=_must_announce(state, network, requested, own_mac, address, address6),
        address=address,
        address6=address6,
        gateway=_gateway(network, 4),
        gateway6=_gateway(network, 6) if 6 in families else None,
        segment=segment,
    )


def _derived_mac(state: State, network: Network, packed: bytes, identifier: str) -> str:
    """Return the MAC of the address, or one of the endpoint's id if that is taken on the network."""
    digest = hashlib.blake2s(bytes.fromhex(identifier)).digest()
    candidates = (mac.generate(tail) for tail in (packed, *(digest[start : start + 4] for start in range(0, 28, 4))))
    return next((free for free in candidates if not state.has_mac(network.id, free)), mac.generate(packed))


def _must_announce(
    state: State,
    network: Network,
    requested: EndpointSettings,
    own_mac: str,
    address: IPv4Interface | None,
    address6: IPv6Interface | None,
) -> bool:
    """Return whether neighbours may have cached another MAC for the address, or wait for an answer to their requests.

    They have not if netd chose an IPv4 address that no endpoint had before, and the MAC follows from it.  Bridges of a
    network with several remember MACs of one another.
    """
    if address is None or address6 is not None or network.segments > 1:
        return True
    given = requested.ipam_config is not None and bool(requested.ipam_config.ipv4_address)
    return given or own_mac != mac.generate(address.ip.packed) or state.was_used(network.id, address.ip)


def check_gateway_mac(network: Network, driver: Driver, requested: EndpointSettings) -> None:
    """Raise Forbidden if the given MAC is the gateway's: the container would receive frames to the host."""
    given = mac.normalize(requested.mac_address)
    gateways = {
        mac.generate(pool.gateway.packed) for pool in network.pools if pool.gateway and pool.gateway.version == 4
    }
    bridges = {fact.mac for fact in driver.network_facts(network) if isinstance(fact, Bridge)} if given else ()
    if given in {*gateways, *bridges}:
        raise Forbidden(f"MAC address {given} is that of the gateway of network {network.name}; choose another")


def _check_mac(state: State, network: Network, requested: EndpointSettings) -> None:
    """Raise Forbidden if the given MAC was derived for another container that is running.

    Docker accepts any MAC: there, derived ones are random and meet given ones only by chance.  Two containers that are
    both given one MAC are accepted, as by Docker.
    """
    given = mac.normalize(requested.mac_address)
    if not given:
        return
    holder = state.mac_holder(network.id, given)
    endpoint = state.members(network.id)[holder.id] if holder else None
    if holder and endpoint and not endpoint.settings.mac_address:
        raise Forbidden(
            f"MAC address {given} is already in use by container {holder.name} on network {network.name}; choose"
            " another, or restart that container after this one"
        )


def release(state: State, endpoints: Iterable[Endpoint]) -> None:
    """Release the endpoints' addresses."""
    for endpoint in endpoints:
        for address in endpoint.addresses if state.has_network(endpoint.network) else ():
            with suppress(KeyError):
                state.pool_containing(endpoint.network, address.ip).release(address.ip)


def check_settings(network: Network, requested: EndpointSettings) -> None:
    """Raise BadRequest when the settings are invalid for an endpoint of *network*."""
    if faults := list(_faults(network, requested)):
        raise BadRequest("invalid endpoint settings:\n" + join_faults(faults))
    options.refuse_unknown_with_prefix(requested.driver_opts or {}, endpoint_options.KNOWN, "endpoints")
    parse_links(requested.links or ())


def check_static(state: State, network: Network, requested: EndpointSettings) -> None:
    """Raise the Problem of a static address that no container can have on the network, whatever others have now."""
    config = requested.ipam_config or IPAMConfig()
    texts: dict[Family, str] = {4: config.ipv4_address, 6: config.ipv6_address}
    for family, text in texts.items():
        if text:
            address = ip_address(text)
            holder = _pool_of(network, address, state.addresses(network.id, family)).holder(address)
            if holder in _RESERVED:
                raise _in_use(state, network, AddressTaken(address, holder))


def _in_use(state: State, network: Network, taken: AddressTaken) -> Forbidden:
    return Forbidden(f"Address already in use: {taken.address} is {_describe_holder(state, network, taken)}")


def _faults(network: Network, requested: EndpointSettings) -> Iterator[str]:
    if requested.ipam_config is not None:
        yield from _address_faults(network, requested.ipam_config)
    if network.predefined and requested.aliases:
        yield "network-scoped aliases are only supported for user-defined networks"
    for alias in requested.aliases or ():
        if alias.split() != [alias]:
            yield f"invalid alias {alias!r}: it may not be empty or contain spaces"
        elif not _ALIAS_PATTERN.match(alias):
            yield f"invalid alias {alias!r}: a * is allowed only before the first dot, as in *.app"
    if requested.mac_address and not mac.normalize(requested.mac_address):
        yield f"address {requested.mac_address}: invalid MAC address"
    yield from endpoint_options.faults(requested.driver_opts or {})


def _address_faults(network: Network, requested: IPAMConfig) -> Iterator[str]:
    texts: dict[Family, str] = {4: requested.ipv4_address, 6: requested.ipv6_address}
    if network.predefined and any(texts.values()):
        yield "user-specified IP address is supported on user-defined networks only"
        return
    for family, text in texts.items():
        if text and not is_usable(text, family):
            yield f"invalid IPv{family} address: {text}"
    for text in requested.link_local_ips or ():
        if not is_usable(text, 4) and not is_usable(text, 6):
            yield f"invalid link-local IP address: {text}"
        elif not ip_address(text).is_link_local:
            yield f"invalid link local IP address: {text}"
        else:
            yield f"link-local address {text} cannot be assigned: LinkLocalIPs is not supported; leave it out"


def _interface(sandbox: Sandbox, network: Network, requested: EndpointSettings) -> str:
    """Return the requested name, else the lowest free ``<prefix><n>``; the network's prefix is ``eth`` by default."""
    used = {endpoint.interface for endpoint in sandbox.endpoints}
    name = (requested.driver_opts or {}).get(IFNAME, "")
    if name in used:
        raise BadRequest(f"interface name {name} is taken in container {sandbox.name}; choose another {IFNAME}")
    prefix = options.interface_prefix(network.options)
    return name or next(free for number in range(len(used) + 1) if (free := f"{prefix}{number}") not in used)


def _gateway(network: Network, family: Family) -> Address | None:
    pool = network.pool(family)
    return None if pool is None or network.internal else pool.auxiliary.get(options.GATEWAYS[family], pool.gateway)


def _families(sandbox: Sandbox, requested: EndpointSettings) -> tuple[Family, ...]:
    """Return the families of the endpoint: IPv4 only if a sysctl disables IPv6 in the container."""
    return (4,) if endpoint_options.without_ipv6(sandbox.sysctls, requested.driver_opts or {}) else FAMILIES


def _addresses(
    state: State, sandbox: Sandbox, network: Network, requested: EndpointSettings, families: Sequence[Family]
) -> tuple[IPv4Interface | None, IPv6Interface | None]:
    """Allocate an address of each family of the network; when one allocation fails, none remains."""
    config = requested.ipam_config or IPAMConfig()
    address = _address(state, sandbox, network, 4, config.ipv4_address)
    try:
        address6 = _address(state, sandbox, network, 6, config.ipv6_address) if 6 in families else None
    except BaseException:
        if address is not None:
            state.pool_containing(network.id, address[0]).return_unused(address[0])
        raise
    return (IPv4Interface(address) if address else None, IPv6Interface(address6) if address6 else None)


def _address(
    state: State, sandbox: Sandbox, network: Network, family: Family, requested: str
) -> tuple[Address, int] | None:
    """Allocate the *requested* address, else the container's previous one, else the next; return it with its prefix."""
    pools = state.addresses(network.id, family)
    if requested:
        address = ip_address(requested)
        pool = _pool_of(network, address, pools)
        try:
            pool.take(address, sandbox.id)
        except AddressTaken as taken:
            raise _in_use(state, network, taken) from None
        return address, pool.subnet.prefixlen
    if (previous := _previous_address(state, sandbox, network, pools)) is not None:
        return previous
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


def _previous_address(
    state: State, sandbox: Sandbox, network: Network, pools: Sequence[AddressPool]
) -> tuple[Address, int] | None:
    """Allocate the address that a container of this name last had on the network, if it is free."""
    for address in state.address_history.last_addresses(network.id, sandbox.name):
        for pool in pools:
            if address in pool.subnet and pool.take_if_free(address, sandbox.id):
                return address, pool.subnet.prefixlen
    return None


def _pool_of(network: Network, address: Address, pools: Sequence[AddressPool]) -> AddressPool:
    for pool in pools:
        if address in pool.subnet:
            return pool
    subnets = ", ".join(str(pool.subnet) for pool in pools) or f"no IPv{address.version}"
    raise BadRequest(
        f"invalid endpoint settings:\nno configured subnet contains IP address {address}: network {network.name} has"
        f" {subnets}"
    )


def _describe_holder(state: State, network: Network, taken: AddressTaken) -> str:
    if taken.holder in _RESERVED:
        return f"{_RESERVED[taken.holder]} of network {network.name}"
    if (owner := state.sandbox(taken.holder)) is not None:
        return f"held by container {owner.name}"
    reserved = state.reservations.get(taken.holder)
    return f"kept for container {reserved.name if reserved else short(taken.holder)}, which declared it"
