"""Networks with more endpoints than one device of the host takes: further segments, made before they are needed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from netd import facts
from netd.common.errors import NotFound, Problem
from netd.common.store.store import Drop, Put
from netd.engine.context import NETWORK, EngineContext
from netd.facts import Step
from netd.model import Network

_log = logging.getLogger(__name__)


async def ensure_room(context: EngineContext, networks: Sequence[Network]) -> None:
    """Return when each of the networks has room for an endpoint, or can grow no more.

    Who decides on an endpoint without awaiting anything in between finds the room.
    """
    while (full := next((one for one in networks if _is_full(context, one.id)), None)) is not None:
        async with context.segment_lock:
            if _is_full(context, full.id):
                await _grow(context, context.state.network(full.id))


def _is_full(context: EngineContext, identifier: str) -> bool:
    if not context.state.has_network(identifier):
        return False
    network = context.state.network(identifier)
    traits = context.driver(network).traits
    if context.state.segment_with_room(network, traits.segment_size) is not None:
        return False
    return network.segments < traits.most_segments


async def _grow(context: EngineContext, network: Network) -> None:
    """Give the network a segment more.  When that fails nothing is left and what failed is raised."""
    grown = replace(network, segments=network.segments + 1)
    want, have = context.desired_state.network(grown), context.desired_state.network(network)
    try:
        await context.host.apply(facts.plan(want, have))
        await context.store.write(Put(NETWORK, network.id, grown))
        if not context.state.has_network(network.id):
            await context.store.write(Drop(NETWORK, network.id))
            raise NotFound(f"network {network.name} not found: it was removed meanwhile")
    except BaseException:
        await _shrink(context, network, facts.plan(have, want))
        raise
    context.state.replace_network(grown)
    _log.info("network=%s segments=%d", network.name, grown.segments)


async def _shrink(context: EngineContext, network: Network, steps: Sequence[Step]) -> None:
    try:
        await context.host.apply(steps)
    except Problem as problem:
        _log.error("network=%s undo=incomplete reason=%s", network.name, problem.message)
        context.repair_needed.set()
