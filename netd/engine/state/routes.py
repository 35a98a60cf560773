"""Which of a sandbox's networks leads out of it, and in which order they count.  Pure."""

from __future__ import annotations

from netd.common.addresses import FAMILIES, Address, Family
from netd.engine.state.state import State
from netd.model import Endpoint, Network, Sandbox


def by_priority(state: State, sandbox: Sandbox) -> list[tuple[Endpoint, Network]]:
    """Return the endpoints as Docker sorts them: higher priority, not internal, with a gateway, network name."""
    return sorted(state.networks_of(sandbox), key=_rank)


def egress_endpoint(state: State, sandbox: Sandbox, family: Family) -> tuple[Endpoint, Network] | None:
    """Return the endpoint that has a family's default route and published ports; None when nothing leads out."""
    for endpoint, network in by_priority(state, sandbox):
        if endpoint.has_default_route(family) and endpoint.address_of(family) is not None:
            return endpoint, network
    return None


def publishing_endpoint(state: State, sandbox: Sandbox, family: Family) -> tuple[Endpoint, Network] | None:
    """Return the endpoint that the family's published ports lead to: the way out, or an internal one for the host."""
    if (way := egress_endpoint(state, sandbox, family)) is not None:
        return way
    for endpoint, network in by_priority(state, sandbox):
        pool = network.pool(family) if network.internal else None
        if pool is not None and pool.gateway is not None and endpoint.address_of(family) is not None:
            return endpoint, network
    return None


def gateways(state: State, sandbox: Sandbox) -> tuple[Address, ...]:
    """Return where the sandbox reaches the host, an address of a family: its way out, else the bridge of a network."""
    return tuple(found for family in FAMILIES if (found := _gateway(state, sandbox, family)) is not None)


def _gateway(state: State, sandbox: Sandbox, family: Family) -> Address | None:
    if (place := publishing_endpoint(state, sandbox, family)) is None:
        return None
    endpoint, network = place
    pool = network.pool(family)
    return endpoint.gateway_of(family) if endpoint.has_default_route(family) or pool is None else pool.gateway


def _rank(pair: tuple[Endpoint, Network]) -> tuple[object, ...]:
    endpoint, network = pair
    without_gateway = sum(endpoint.gateway_of(family) is None for family in FAMILIES)
    return (-endpoint.settings.gw_priority, network.internal, without_gateway, network.name)
