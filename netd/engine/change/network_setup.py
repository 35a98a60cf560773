"""Bringing a network that is decided into the kernel, the store and the name server, and out of them again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeAlias

from netd import facts
from netd.common.errors import Problem
from netd.common.store.store import Drop, Put
from netd.engine.context import NETWORK, EngineContext
from netd.engine.views.dns_records import NetworkNames
from netd.model import Network
from netd.portmap.rules import Ruleset, RulesetChange

Work: TypeAlias = Coroutine[Any, Any, None]

_log = logging.getLogger(__name__)


async def create(context: EngineContext, network: Network) -> None:
    """Make the network; when that fails nothing is left and what failed is raised."""
    register(context, network)
    try:
        await _all(context.store.write(Put(NETWORK, network.id, network)), _bring(context, network))
    except BaseException:
        unregister(context, network)
        await _regardless(_take_down(context, network), context)
        await _regardless(context.store.write(Drop(NETWORK, network.id)), context)
        raise


async def delete(context: EngineContext, network: Network) -> None:
    """Remove the network; when that fails it is there as before and what failed is raised."""
    unregister(context, network)
    try:
        await _all(context.store.write(Drop(NETWORK, network.id)), _take_down(context, network))
    except BaseException:
        register(context, network)
        await _regardless(_bring(context, network), context)
        await _regardless(context.store.write(Put(NETWORK, network.id, network)), context)
        raise


def register(context: EngineContext, network: Network) -> None:
    """Make the network known, here and to the name server."""
    add_to_state(context, network)
    if (book := context.network_names.get(network.id)) is not None:
        context.dns.set_network(network.id, book.records())


def add_to_state(context: EngineContext, network: Network) -> None:
    """Make the network known here only."""
    context.state.put_network(network)
    if network.pools or network.remote:
        context.network_names[network.id] = NetworkNames(network)


def unregister(context: EngineContext, network: Network) -> None:
    context.state.drop_network(network)
    if context.network_names.pop(network.id, None) is not None:
        context.dns.drop_network(network.id)


async def _bring(context: EngineContext, network: Network) -> None:
    """Hand all over at once; the host does one thing after the other."""
    steps = facts.plan(context.desired_state.network(network), {})
    change = RulesetChange(added=_rules(context, network))
    await _all(context.host.apply(steps), context.host.change_firewall(change))


async def _take_down(context: EngineContext, network: Network) -> None:
    steps = facts.plan({}, context.desired_state.network(network))
    change = RulesetChange(removed=_rules(context, network))
    await _all(context.host.change_firewall(change), context.host.apply(steps))


def _rules(context: EngineContext, network: Network) -> Ruleset:
    """Return the network's part of the firewall."""
    rules = context.desired_state.rules(network)
    return Ruleset(frozenset({rules} if rules else ()))


async def _all(*work: Work) -> None:
    """Wait for all to end, so that nothing goes on behind our back, and raise what failed first."""
    for problem in filter(None, await asyncio.gather(*work, return_exceptions=True)):
        raise problem


async def _regardless(undoing: Work, context: EngineContext) -> None:
    """Go on whatever becomes of it; the repair sees to the rest."""
    try:
        await undoing
    except Problem as problem:
        _log.error("undo=incomplete reason=%s", problem.message)
        context.repair_needed.set()
