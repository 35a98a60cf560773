"""Ports of containers on routed networks: reached at the containers' own addresses, not by ports of the host.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from netd.common.addresses import FAMILIES, Address, Family
from netd.drivers.registry import Drivers
from netd.engine.state.routes import egress_endpoint
from netd.engine.state.state import State
from netd.model import Network, PortRequest, Publication, Sandbox
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
    for endpoint, network in state.networks_of(sandbox) if sandbox.port_requests else ():
        for family in FAMILIES:
            address = endpoint.address_of(family)
            if address is None or network.internal or not is_routed(drivers, network, family):
                continue
            for port_request in sandbox.port_requests:
                if any(one is None or one.version == family for one in port_request.addresses):
                    yield Opened(
                        port_request.protocol, address.ip, port_request.target, port_request.count, port_request.allow
                    )


def publications(state: State, drivers: Drivers, sandbox: Sandbox) -> tuple[Publication, ...]:
    """Return what is shown of the ports where the way out is a routed network: they have no port of the host."""
    found: list[Publication] = []
    for family in FAMILIES if sandbox.port_requests else ():
        way = egress_endpoint(state, sandbox, family)
        if way is not None and is_routed(drivers, way[1], family):
            usual = drivers.get(way[1].driver).binding_addresses(way[1])
            found += [
                _shown(port_request, one)
                for port_request in sandbox.port_requests
                for one in _addresses(port_request, family, usual)
            ]
    return tuple(dict.fromkeys(found))


def _addresses(port_request: PortRequest, family: Family, usual: tuple[Address, ...]) -> Iterator[Address]:
    for address in port_request.addresses:
        yield from (one for one in (usual if address is None else (address,)) if one.version == family)


def _shown(port_request: PortRequest, address: Address) -> Publication:
    return Publication(
        protocol=port_request.protocol,
        address=address,
        port=0,
        target=port_request.target,
        count=port_request.count,
        allow=port_request.allow,
    )
