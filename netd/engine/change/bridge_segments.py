"""Networks with more endpoints than one device of the host takes: further segments, made before they are needed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from netd import facts
from netd.common.errors import NotFound, Problem
from netd.common.store.store import Drop, Put
from netd.engine.context import NETWORK, World
from netd.facts import Step
from netd.model import Network

_log = logging.getLogger(__name__)


async def make_room(world: World, networks: Sequence[Network]) -> None:
    """Return when each of the networks has room for an endpoint, or can grow no more.

    Who decides on an endpoint without awaiting anything in between finds the room.
    """
    while (full := next((one for one in networks if _is_full(world, one.id)), None)) is not None:
        async with world.growth:
            if _is_full(world, full.id):
                await _grow(world, world.state.network(full.id))


def _is_full(world: World, identifier: str) -> bool:
    if not world.state.has_network(identifier):
        return False
    network = world.state.network(identifier)
    traits = world.driver(network).traits
    if world.state.roomy_segment(network, traits.segment_size) is not None:
        return False
    return network.segments < traits.most_segments


async def _grow(world: World, network: Network) -> None:
    """Give the network a segment more.  When that fails nothing is left and what failed is raised."""
    grown = replace(network, segments=network.segments + 1)
    want, have = world.wanted.network(grown), world.wanted.network(network)
    try:
        await world.host.apply(facts.plan(want, have))
        await world.store.write(Put(NETWORK, network.id, grown))
        if not world.state.has_network(network.id):
            await world.store.write(Drop(NETWORK, network.id))
            raise NotFound(f"network {network.name} not found: it was removed meanwhile")
    except BaseException:
        await _shrink(world, network, facts.plan(have, want))
        raise
    world.state.replace_network(grown)
    _log.info("network=%s segments=%d", network.name, grown.segments)


async def _shrink(world: World, network: Network, steps: Sequence[Step]) -> None:
    try:
        await world.host.apply(steps)
    except Problem as problem:
        _log.error("network=%s undo=incomplete reason=%s", network.name, problem.message)
        world.alarm.set()
