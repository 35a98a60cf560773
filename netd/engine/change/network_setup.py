"""Bringing a network that is decided into the kernel, the store and the name server, and out of them again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeAlias

from netd import facts
from netd.common.errors import Problem
from netd.common.store.store import Drop, Put
from netd.engine.context import NETWORK, World
from netd.engine.views.dns_records import Book
from netd.model import Network
from netd.portmap.rules import Ruleset, RulesetChange

Work: TypeAlias = Coroutine[Any, Any, None]

_log = logging.getLogger(__name__)


async def make(world: World, network: Network) -> None:
    """Make the network; when that fails nothing is left and what failed is raised."""
    enter(world, network)
    try:
        await _all(world.store.write(Put(NETWORK, network.id, network)), _bring(world, network))
    except BaseException:
        leave(world, network)
        await _regardless(_take_down(world, network), world)
        await _regardless(world.store.write(Drop(NETWORK, network.id)), world)
        raise


async def unmake(world: World, network: Network) -> None:
    """Remove the network; when that fails it is there as before and what failed is raised."""
    leave(world, network)
    try:
        await _all(world.store.write(Drop(NETWORK, network.id)), _take_down(world, network))
    except BaseException:
        enter(world, network)
        await _regardless(_bring(world, network), world)
        await _regardless(world.store.write(Put(NETWORK, network.id, network)), world)
        raise


def enter(world: World, network: Network) -> None:
    """Make the network known, here and to the name server."""
    know(world, network)
    if (book := world.books.get(network.id)) is not None:
        world.names.set_network(network.id, book.records())


def know(world: World, network: Network) -> None:
    """Make the network known here only."""
    world.state.put_network(network)
    if network.pools or network.remote:
        world.books[network.id] = Book(network)


def leave(world: World, network: Network) -> None:
    world.state.drop_network(network)
    if world.books.pop(network.id, None) is not None:
        world.names.drop_network(network.id)


async def _bring(world: World, network: Network) -> None:
    """Hand all over at once; the host does one thing after the other."""
    steps = facts.plan(world.wanted.network(network), {})
    change = RulesetChange(come=_rules(world, network))
    await _all(world.host.apply(steps), world.host.change_firewall(change))


async def _take_down(world: World, network: Network) -> None:
    steps = facts.plan({}, world.wanted.network(network))
    change = RulesetChange(gone=_rules(world, network))
    await _all(world.host.change_firewall(change), world.host.apply(steps))


def _rules(world: World, network: Network) -> Ruleset:
    """Return the network's part of the firewall."""
    rules = world.wanted.rules(network)
    return Ruleset(frozenset({rules} if rules else ()))


async def _all(*work: Work) -> None:
    """Wait for all to end, so that nothing goes on behind our back, and raise what failed first."""
    for problem in filter(None, await asyncio.gather(*work, return_exceptions=True)):
        raise problem


async def _regardless(undoing: Work, world: World) -> None:
    """Go on whatever becomes of it; the repair sees to the rest."""
    try:
        await undoing
    except Problem as problem:
        _log.error("undo=incomplete reason=%s", problem.message)
        world.alarm.set()
