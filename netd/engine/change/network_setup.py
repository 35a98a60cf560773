"""Creating and deleting a network in the kernel, the store and netd-dns."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeAlias

from netd import facts
from netd.common.store.store import Drop, Put
from netd.engine.change.rollback import rollback
from netd.engine.context import NETWORK, EngineContext
from netd.engine.desired_state import DesiredState
from netd.engine.state.state import State
from netd.engine.views.dns_records import NetworkNames
from netd.host_protocol import Host
from netd.model import Network
from netd.portmap.rules import Ruleset, RulesetChange

Work: TypeAlias = Coroutine[Any, Any, None]


async def create(context: EngineContext, network: Network) -> None:
    """Create the network.  Raises the Problem that prevents it; nothing is left then."""
    host, wanted = context.host, context.desired_state

    async def delete_again() -> None:
        unregister(context, network)
        await _delete_from_kernel(host, wanted, network)

    register(context, network)
    forget = partial(context.store.write, Drop(NETWORK, network.id))
    async with rollback(context.repair_needed, f"network={network.name}", delete_again, forget):
        record = context.store.write(Put(NETWORK, network.id, network))
        await _all(_create_in_kernel(host, wanted, network), record)


async def delete(context: EngineContext, network: Network) -> None:
    """Delete the network.  Raises the Problem that prevents it; the network is restored then."""
    host, wanted = context.host, context.desired_state

    async def create_again() -> None:
        register(context, network)
        await _create_in_kernel(host, wanted, network)

    unregister(context, network)
    restore = partial(context.store.write, Put(NETWORK, network.id, network))
    async with rollback(context.repair_needed, f"network={network.name}", create_again, restore):
        record = context.store.write(Drop(NETWORK, network.id))
        await _all(_delete_from_kernel(host, wanted, network), record)


def register(context: EngineContext, network: Network) -> None:
    """Add the network to the state and to netd-dns."""
    add_to_state(context.state, context.network_names, network)
    if (names := context.network_names.get(network.id)) is not None:
        context.dns.set_network(network.id, names.records())


def add_to_state(state: State, network_names: dict[str, NetworkNames], network: Network) -> None:
    """Add the network to the state, without netd-dns."""
    state.put_network(network)
    if network.pools or network.remote:
        network_names[network.id] = NetworkNames(network)


def unregister(context: EngineContext, network: Network) -> None:
    """Remove the network from the state and from netd-dns."""
    context.state.drop_network(network)
    if context.network_names.pop(network.id, None) is not None:
        context.dns.drop_network(network.id)


async def _create_in_kernel(host: Host, wanted: DesiredState, network: Network) -> None:
    steps = facts.plan(wanted.network(network), {})
    await host.apply(steps, after=RulesetChange(added=_rules(wanted, network)))


async def _delete_from_kernel(host: Host, wanted: DesiredState, network: Network) -> None:
    steps = facts.plan({}, wanted.network(network))
    await host.apply(steps, before=RulesetChange(removed=_rules(wanted, network)))


def _rules(wanted: DesiredState, network: Network) -> Ruleset:
    """Return the network's part of the firewall."""
    rules = wanted.rules(network)
    return Ruleset(frozenset({rules} if rules else ()))


async def _all(*work: Work) -> None:
    """Wait for all coroutines, so that none continues in the background, and raise the first error.

    They begin in this order: the kernel's thread first, because its work takes longer than the record.
    """
    for problem in filter(None, await asyncio.gather(*work, return_exceptions=True)):
        raise problem
