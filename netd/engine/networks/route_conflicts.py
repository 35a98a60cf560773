"""Routes of the host that come to lie over a network of ours: told once each, and forgotten when they go.

A subnet of netd's choice keeps clear of every route that is there when it is chosen.  A VPN that comes up later, or a
subnet that somebody gave, may not: then some of the host's traffic goes to the bridge, or the containers' elsewhere.
Nothing is changed about it here.
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
_WIDEST = 8
"""Routes wider than this (a VPN's halves of the world) say nothing about who uses an address."""
_REST, _SHARE = 0.5, 20
"""Seconds between two looks at least, and how many times as long as a look: a host may have a million routes."""


@dataclass(frozen=True, slots=True)
class RouteConflict:
    """A route that overlaps a network's subnet."""

    network: str
    """The network's id."""
    subnet: Subnet
    route: Subnet
    interface: str


def find(networks: Iterable[tuple[Network, str]], ways: Iterable[RouteEntry]) -> frozenset[RouteConflict]:
    """Return the collisions of networks, each with the device that it stands on, with routes by other links."""
    narrow = [way for way in ways if way.destination.prefixlen >= _WIDEST]
    return frozenset(
        RouteConflict(network.id, pool.subnet, way.destination, way.interface)
        for network, device in networks
        for pool in network.pools
        for way in narrow
        if way.interface != device and overlap(pool.subnet, way.destination)
    )


async def of_network(context: EngineContext, network: Network) -> list[RouteConflict]:
    """Return the collisions of one network, in order."""
    found = find(_routed(context, (network,)), await context.host.routes())
    return sorted(found, key=lambda one: (one.interface, str(one.route)))


def describe(context: EngineContext, collision: RouteConflict) -> str:
    network = context.state.network(collision.network)
    return (
        f"subnet {collision.subnet} of network {network.name} overlaps the route to {collision.route} by interface"
        f" {collision.interface}: what goes there may be lost; use another subnet for one of them"
    )


async def watch(context: EngineContext) -> None:
    """Tell of every new collision when routes change; goes on until it is cancelled."""
    told: frozenset[RouteConflict] = frozenset()
    while True:
        begin = time.monotonic()
        try:
            found = find(_routed(context, context.state.networks), await context.host.routes())
        except Problem as problem:
            _log.error("routes=not-looked-at reason=%s", problem.message)
            found = told
        for collision in found - told:
            _tell(context, collision)
        told = found
        await asyncio.sleep(max(_REST, _SHARE * (time.monotonic() - begin)))
        await context.host.wait_for_route_change()


def _routed(context: EngineContext, networks: Iterable[Network]) -> Iterator[tuple[Network, str]]:
    """Yield the networks that the host itself routes to, with their devices."""
    for network in networks:
        device = context.driver(network).device(network)
        if device is not None and context.desired_state.rules(network) is not None:
            yield network, device


def _tell(context: EngineContext, collision: RouteConflict) -> None:
    network = context.state.network(collision.network)
    _log.warning("collision: %s", describe(context, collision))
    attributes = {
        "name": network.name,
        "type": network.driver,
        "subnet": str(collision.subnet),
        "route": str(collision.route),
        "interface": collision.interface,
    }
    context.bus.publish(event("network", "conflict", network.id, attributes))
