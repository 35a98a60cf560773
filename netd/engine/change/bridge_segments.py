"""Bridge segments: further bridges of networks whose first bridge is full, created before an endpoint is allocated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from netd import facts
from netd.common.errors import NotFound
from netd.common.store.store import Drop, Put
from netd.drivers.registry import Drivers
from netd.engine.change.rollback import rollback
from netd.engine.context import NETWORK, EngineContext
from netd.engine.state.state import State
from netd.model import Network

_log = logging.getLogger(__name__)


async def ensure_room(context: EngineContext, networks: Sequence[Network]) -> None:
    """Add segments until each network has room for an endpoint or has its maximum of segments.

    The room stays available until the caller's next await.
    """
    state, drivers = context.state, context.drivers
    while full := [network.id for network in networks if _needs_segment(state, drivers, network.id)]:
        async with context.segment_lock:
            if _needs_segment(state, drivers, full[0]):
                await _add_segment(context, state.network(full[0]))


def _needs_segment(state: State, drivers: Drivers, identifier: str) -> bool:
    if not state.has_network(identifier):
        return False
    network = state.network(identifier)
    traits = drivers.get(network.driver).traits
    if state.segment_with_room(network, traits.segment_size) is not None:
        return False
    return network.segments < traits.most_segments


async def _add_segment(context: EngineContext, network: Network) -> None:
    """Create one more segment.  Raises the Problem that prevents it; the network is unchanged then."""
    larger = replace(network, segments=network.segments + 1)
    want, have = context.desired_state.network(larger), context.desired_state.network(network)
    undo = partial(context.host.apply, facts.plan(have, want))
    async with rollback(context.repair_needed, f"network={network.name}", undo):
        await context.host.apply(facts.plan(want, have))
        await context.store.write(Put(NETWORK, network.id, larger))
        if not context.state.has_network(network.id):
            await context.store.write(Drop(NETWORK, network.id))
            raise NotFound(f"network {network.name} not found: it was removed meanwhile")
    context.state.replace_network(larger)
    _log.info("segment added: network=%s segments=%d", network.name, larger.segments)
