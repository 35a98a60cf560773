"""Ports of containers on routed networks: reached at the containers' own addresses, not by ports of the host.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from netd.common.addresses import FAMILIES, Address, Family
from netd.drivers.registry import Drivers
from netd.engine.state.routes import way_out
from netd.engine.state.state import State
from netd.model import Network, Publication, Sandbox, Wish
from netd.portmap.rules import GatewayMode, Opened


def mode(drivers: Drivers, network: Network, family: Family) -> GatewayMode | None:
    """Return how a family's ports of the network's containers are reached; None where nothing is published."""
    rules = drivers.get(network.driver).rules(network)
    treatment = rules.treatment(family) if rules else None
    return treatment.mode if treatment else None


def is_routed(drivers: Drivers, network: Network, family: Family) -> bool:
    return mode(drivers, network, family) is GatewayMode.ROUTED


def opened(state: State, drivers: Drivers, sandbox: Sandbox) -> Iterator[Opened]:
    """Yield what is to be let through, on every routed network, whichever leads out."""
    for endpoint, network in state.networks_of(sandbox) if sandbox.wishes else ():
        for family in FAMILIES:
            address = endpoint.address_of(family)
            if address is None or network.internal or not is_routed(drivers, network, family):
                continue
            for wish in sandbox.wishes:
                if any(one is None or one.version == family for one in wish.addresses):
                    yield Opened(wish.protocol, address.ip, wish.target, wish.count, wish.allow)


def publications(state: State, drivers: Drivers, sandbox: Sandbox) -> tuple[Publication, ...]:
    """Return what is shown of the ports where the way out is a routed network: they have no port of the host."""
    found: list[Publication] = []
    for family in FAMILIES if sandbox.wishes else ():
        way = way_out(state, sandbox, family)
        if way is not None and is_routed(drivers, way[1], family):
            usual = drivers.get(way[1].driver).binding_addresses(way[1])
            found += [_shown(wish, one) for wish in sandbox.wishes for one in _addresses(wish, family, usual)]
    return tuple(dict.fromkeys(found))


def _addresses(wish: Wish, family: Family, usual: tuple[Address, ...]) -> Iterator[Address]:
    for address in wish.addresses:
        yield from (one for one in (usual if address is None else (address,)) if one.version == family)


def _shown(wish: Wish, address: Address) -> Publication:
    return Publication(
        protocol=wish.protocol, address=address, port=0, target=wish.target, count=wish.count, allow=wish.allow
    )
