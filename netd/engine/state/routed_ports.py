"""Ports of containers on routed networks: clients use the container's own address, not a host port.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from netd.common.addresses import FAMILIES, Address, Family
from netd.drivers.registry import Drivers
from netd.engine.state.routes import egress_endpoint
from netd.engine.state.state import State
from netd.model import Network, PortRequest, Publication, Sandbox
from netd.portmap.rules import GatewayMode, Opened


def mode(drivers: Drivers, network: Network, family: Family) -> GatewayMode | None:
    """Return the network's gateway mode for a family; None where ports cannot be published."""
    rules = drivers.get(network.driver).rules(network)
    treatment = rules.treatment(family) if rules else None
    return treatment.mode if treatment else None


def is_routed(drivers: Drivers, network: Network, family: Family) -> bool:
    return mode(drivers, network, family) is GatewayMode.ROUTED


def opened(state: State, drivers: Drivers, sandbox: Sandbox) -> Iterator[Opened]:
    """Yield the ports that the firewall admits, on each routed network, whether or not it has the default route."""
    for endpoint, network in state.networks_of(sandbox) if sandbox.port_requests else ():
        for family in FAMILIES:
            own = endpoint.address_of(family)
            if own is None or network.internal or not is_routed(drivers, network, family):
                continue
            for port_request in sandbox.port_requests:
                if any(address is None or address.version == family for address in port_request.addresses):
                    yield Opened(
                        port_request.protocol, own.ip, port_request.target, port_request.count, port_request.allow
                    )


def publications(state: State, drivers: Drivers, sandbox: Sandbox) -> tuple[Publication, ...]:
    """Return the publications, without host ports, of the families whose default route is on a routed network."""
    found: list[Publication] = []
    for family in FAMILIES if sandbox.port_requests else ():
        egress = egress_endpoint(state, sandbox, family)
        if egress is not None and is_routed(drivers, egress[1], family):
            defaults = drivers.get(egress[1].driver).binding_addresses(egress[1])
            found += [
                _publication(port_request, address)
                for port_request in sandbox.port_requests
                for address in _addresses(port_request, family, defaults)
            ]
    return tuple(dict.fromkeys(found))


def _addresses(port_request: PortRequest, family: Family, defaults: tuple[Address, ...]) -> Iterator[Address]:
    for requested in port_request.addresses:
        candidates = defaults if requested is None else (requested,)
        yield from (address for address in candidates if address.version == family)


def _publication(port_request: PortRequest, address: Address) -> Publication:
    return Publication(
        protocol=port_request.protocol,
        address=address,
        port=0,
        target=port_request.target,
        count=port_request.count,
        allow=port_request.allow,
    )
