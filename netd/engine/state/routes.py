"""The order of a sandbox's endpoints, and which of them has the default route.  Pure."""

from __future__ import annotations

from netd.common.addresses import FAMILIES, Address, Family
from netd.engine.state.state import State
from netd.model import Endpoint, Network, Sandbox


def by_priority(state: State, sandbox: Sandbox) -> list[tuple[Endpoint, Network]]:
    """Return the endpoints in Docker's order: highest GwPriority, then not internal, most gateways, network name."""
    return sorted(state.networks_of(sandbox), key=_sort_key)


def egress_endpoint(state: State, sandbox: Sandbox, family: Family) -> tuple[Endpoint, Network] | None:
    """Return the endpoint with the default route of *family*; None if no endpoint has one."""
    for endpoint, network in by_priority(state, sandbox):
        if endpoint.has_default_route(family) and endpoint.address_of(family) is not None:
            return endpoint, network
    return None


def publishing_endpoint(state: State, sandbox: Sandbox, family: Family) -> tuple[Endpoint, Network] | None:
    """Return the endpoint to which published ports are translated.

    That is the endpoint with the default route, else one on an internal network, whose ports only this host reaches.
    """
    if (egress := egress_endpoint(state, sandbox, family)) is not None:
        return egress
    for endpoint, network in by_priority(state, sandbox):
        pool = network.pool(family) if network.internal else None
        if pool is not None and pool.gateway is not None and endpoint.address_of(family) is not None:
            return endpoint, network
    return None


def gateways(state: State, sandbox: Sandbox) -> tuple[Address, ...]:
    """Return, for each family, the sandbox's gateway, else the gateway address of an internal network, if any."""
    return tuple(found for family in FAMILIES if (found := _gateway(state, sandbox, family)) is not None)


def _gateway(state: State, sandbox: Sandbox, family: Family) -> Address | None:
    if (attachment := publishing_endpoint(state, sandbox, family)) is None:
        return None
    endpoint, network = attachment
    pool = network.pool(family)
    return endpoint.gateway_of(family) if endpoint.has_default_route(family) or pool is None else pool.gateway


def _sort_key(attachment: tuple[Endpoint, Network]) -> tuple[object, ...]:
    endpoint, network = attachment
    missing_gateways = sum(endpoint.gateway_of(family) is None for family in FAMILIES)
    return (-endpoint.settings.gw_priority, network.internal, missing_gateways, network.name)
