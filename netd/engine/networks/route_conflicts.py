"""Conflicts between routes of the host and subnets of networks: each is logged and published once until it ends.

A subnet that netd chooses overlaps no route that exists then.  A VPN that connects later, or a subnet from a request,
may conflict: then some of the host's traffic is sent to the bridge, or the containers' traffic to another link.  netd
only reports it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from netd.common.addresses import Subnet, overlap
from netd.common.errors import Problem
from netd.common.events import event
from netd.engine.context import EngineContext
from netd.host_protocol import RouteEntry
from netd.model import Network

_log = logging.getLogger(__name__)
_SHORTEST_PREFIX = 8
"""Shorter prefixes (a VPN's 0.0.0.0/1 and 128.0.0.0/1) are default routes in effect and are ignored."""
_MIN_PAUSE, _PAUSE_FACTOR = 0.5, 20
"""Pause between two checks: at least ``_MIN_PAUSE`` seconds and ``_PAUSE_FACTOR`` times the duration of the last check,
because a host may have a million routes."""


@dataclass(frozen=True, slots=True)
class RouteConflict:
    """A route that overlaps a network's subnet."""

    network: str
    """The network's id."""
    subnet: Subnet
    route: Subnet
    interface: str


def find(networks: Iterable[tuple[Network, str]], routes: Iterable[RouteEntry]) -> frozenset[RouteConflict]:
    """Return the conflicts between *networks*, each given with its device, and routes through other interfaces."""
    specific = [route for route in routes if route.destination.prefixlen >= _SHORTEST_PREFIX]
    return frozenset(
        RouteConflict(network.id, pool.subnet, route.destination, route.interface)
        for network, device in networks
        for pool in network.pools
        for route in specific
        if route.interface != device and overlap(pool.subnet, route.destination)
    )


async def of_network(context: EngineContext, network: Network) -> list[RouteConflict]:
    """Report and return the conflicts of a new network, sorted by interface and route."""
    found = find(_routed(context, (network,)), await context.host.routes())
    _report_new(context, found)
    return sorted(found, key=lambda conflict: (conflict.interface, str(conflict.route)))


def describe(network: Network, conflict: RouteConflict) -> str:
    return (
        f"subnet {conflict.subnet} of network {network.name} overlaps the route to {conflict.route} by interface"
        f" {conflict.interface}: packets to it may be lost; use another subnet for one of them"
    )


async def watch(context: EngineContext) -> None:
    """Report new conflicts whenever routes of the host change, until cancelled."""
    while True:
        started = time.monotonic()
        try:
            found = find(_routed(context, context.state.networks), await context.host.routes())
            _report_new(context, found)
            context.reported_conflicts.intersection_update(found)
        except Problem as problem:
            _log.error("routes cannot be read: error=%s", problem.message)
        await asyncio.sleep(max(_MIN_PAUSE, _PAUSE_FACTOR * (time.monotonic() - started)))
        await context.host.wait_for_route_change()


def _routed(context: EngineContext, networks: Iterable[Network]) -> Iterator[tuple[Network, str]]:
    """Yield the networks to which the host has routes, with their devices."""
    for network in networks:
        device = context.driver(network).device(network)
        if device is not None and context.desired_state.rules(network) is not None:
            yield network, device


def _report_new(context: EngineContext, found: frozenset[RouteConflict]) -> None:
    for conflict in found - context.reported_conflicts:
        if context.state.has_network(conflict.network):
            _report(context, conflict)
    context.reported_conflicts.update(found)


def _report(context: EngineContext, conflict: RouteConflict) -> None:
    network = context.state.network(conflict.network)
    _log.warning("route conflict: network=%s error=%s", network.name, describe(network, conflict))
    attributes = {
        "name": network.name,
        "type": network.driver,
        "subnet": str(conflict.subnet),
        "route": str(conflict.route),
        "interface": conflict.interface,
    }
    context.bus.publish(event("network", "conflict", network.id, attributes))
