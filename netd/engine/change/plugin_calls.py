"""What plugins do around a change: asked before and after it, and again to take it back when it fails.

Networks without a plugin pass through untouched.  While a plugin is waited for, the turn is put aside.  What a plugin
was asked to make is noted first, and noted off when it is in a record or gone again; so whatever was interrupted,
or what a dead plugin did not hear, is taken back at the next start.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from netd.common.addresses import FAMILIES
from netd.common.errors import Conflict, NotFound, Problem
from netd.common.store.store import Drop, Put
from netd.engine.change import apply, network_setup
from netd.engine.context import NETWORK, ORPHAN, EngineContext
from netd.engine.state.routes import egress_endpoint
from netd.model import Endpoint, Network, Sandbox
from netd.remote.caller import PluginNotFound, PluginUnreachable

_log = logging.getLogger(__name__)


class Orphan(msgspec.Struct, frozen=True):
    """Something that a plugin was asked to make and that is in no record."""

    driver: str
    network: str
    endpoint: str = ""
    """"" for the network itself."""

    @property
    def id(self) -> str:
        return self.endpoint or self.network


@dataclass(frozen=True, slots=True)
class _Place:
    endpoint: Endpoint
    network: Network

    @property
    def orphan(self) -> Orphan:
        return Orphan(self.network.driver, self.network.id, self.endpoint.id)


# Networks


async def create_network(context: EngineContext, network: Network) -> None:
    """Have the driver make a closed network that is known already.  When it fails the network is unknown again."""
    orphan = Orphan(network.driver, network.id)
    try:
        await context.store.write(Put(ORPHAN, orphan.id, orphan), durable=False)
        await context.plugins.networks(network.driver).create_network(network)
        await context.store.write(Put(NETWORK, network.id, network), Drop(ORPHAN, orphan.id))
    except BaseException:
        network_setup.unregister(context, network)
        await _take_back(context, [orphan])
        raise
    finally:
        context.pending_networks.discard(network.id)


def mark_pending(context: EngineContext, network: Network) -> None:
    """Let nobody join, or remove, the network any more: it is about to go."""
    context.pending_networks.add(network.id)


async def delete_network(context: EngineContext, network: Network) -> None:
    """Have the driver remove a closed network, which goes whatever the driver says."""
    orphan = Orphan(network.driver, network.id)
    try:
        await context.store.write(Put(ORPHAN, orphan.id, orphan), durable=False)
        await _take_back(context, [orphan])
        await network_setup.delete(context, network)
    finally:
        context.pending_networks.discard(network.id)


# Sandboxes


async def apply_change(
    context: EngineContext, before: Sandbox | None, after: Sandbox, finish: Callable[[Sandbox], Sandbox]
) -> Sandbox:
    """Make *after* of *before*, as ``change.carry_out`` does, and return it with what plugins gave.

    *finish* says what is published, when it is known where the ways out are.
    """
    fresh, gone = _difference(context, after, before), _difference(context, before, after)
    if not _remote(context, before) and not fresh:
        after = finish(after)
        await apply.apply_change(context, before, after)
        return after
    async with _joined(context, before, after, fresh) as given:
        joined = finish(given)
        told = await _depart(context, before, gone)
        _check_unchanged(context, before, after)
        await apply.apply_change(context, before, joined)
        await _program(context, before, joined)
        await context.store.write(*(Drop(ORPHAN, place.endpoint.id) for place in fresh), durable=False)
    await _delete(context, told)
    return joined


async def delete_sandbox(context: EngineContext, sandbox: Sandbox) -> bool:
    """Take a sandbox away, whatever plugins say; false when somebody else did so meanwhile."""
    told = await _depart(context, sandbox, _remote(context, sandbox))
    if context.state.sandbox(sandbox.id) is not sandbox:
        return False
    await apply.delete_sandbox(context, sandbox)
    await _delete(context, told)
    return True


async def delete_endpoints_later(context: EngineContext, sandboxes: Iterable[Sandbox]) -> None:
    """Have the endpoints of sandboxes that are no more taken back by and by."""
    places = ((one, context.state.network(one.network)) for sandbox in sandboxes for one in _known(context, sandbox))
    orphans = [_Place(*place).orphan for place in places if place[1].remote]
    if orphans:
        await context.store.write(*(Put(ORPHAN, one.id, one) for one in orphans), durable=False)
        context.background.start(_take_back(context, orphans), "take-back-orphans")


async def delete_orphans(context: EngineContext) -> None:
    """Take back, by and by, what a former netd left with plugins."""
    kept = {endpoint.id for sandbox in context.state.sandboxes for endpoint in sandbox.endpoints}
    kept |= {network.id for network in context.state.networks}
    orphans = [one for one in context.store.load(ORPHAN, Orphan).values() if one.id not in kept]
    if orphans:
        orphans.sort(key=lambda one: not one.endpoint)
        context.background.start(_take_back(context, orphans), "take-back-orphans")


def check_ready(context: EngineContext, network: Network) -> None:
    """Raise Conflict while a network is being made or removed."""
    if network.id in context.pending_networks:
        raise Conflict(f"network {network.name} is being made or removed; try again in a moment")


def _known(context: EngineContext, sandbox: Sandbox) -> list[Endpoint]:
    return [one for one in sandbox.endpoints if context.state.has_network(one.network)]


def _remote(context: EngineContext, sandbox: Sandbox | None) -> list[_Place]:
    found = context.state.networks_of(sandbox) if sandbox else ()
    return [_Place(endpoint, network) for endpoint, network in found if network.remote]


def _difference(context: EngineContext, one: Sandbox | None, other: Sandbox | None) -> list[_Place]:
    have = {endpoint.id for endpoint in other.endpoints} if other else set()
    return [place for place in _remote(context, one) if place.endpoint.id not in have]


@asynccontextmanager
async def _joined(
    context: EngineContext, before: Sandbox | None, after: Sandbox, fresh: list[_Place]
) -> AsyncIterator[Sandbox]:
    """Have the endpoints made and joined; when what follows fails they are left and deleted again."""
    held = [place.network.id for place in fresh]
    context.pending_endpoints.update(held)
    try:
        async with context.locks.released():
            await context.store.write(*(Put(ORPHAN, one.endpoint.id, one.orphan) for one in fresh), durable=False)
            for place in fresh:
                after = await _join(context, after, place)
        _check_unchanged(context, before, after)
        yield after
    except BaseException:
        async with context.locks.released():
            await _take_back(context, [place.orphan for place in fresh])
        raise
    finally:
        context.pending_endpoints.subtract(held)


async def _join(context: EngineContext, sandbox: Sandbox, place: _Place) -> Sandbox:
    driver = context.plugins.networks(place.network.driver)
    made = await driver.create_endpoint(place.network, sandbox, place.endpoint)
    joined = await driver.join(sandbox, made, context.host.namespace_path(sandbox.id))
    if not any(map(joined.has_default_route, FAMILIES)) and not place.network.internal:
        _log.info("endpoint=%s network=%s way-out=none reason=driver-gave-no-gateway", made.id[:12], place.network.name)
    endpoints = (joined if one.id == joined.id else one for one in sandbox.endpoints)
    return replace(sandbox, endpoints=tuple(endpoints))


def _check_unchanged(context: EngineContext, before: Sandbox | None, after: Sandbox) -> None:
    if before is not None and context.state.sandbox(before.id) is not before:
        raise NotFound(f"container {before.name} went away while a driver was asked")
    if before is None and context.state.sandbox_by_short_id(after.id) is not None:
        raise Conflict(f"another container with the id {after.id[:12]} came meanwhile")


def _ways_out(context: EngineContext, sandbox: Sandbox | None) -> dict[str, _Place]:
    """Return the remote endpoints that a container is reached by: those with a default route."""
    found = [egress_endpoint(context.state, sandbox, family) for family in FAMILIES] if sandbox else []
    return {way[0].id: _Place(*way) for way in found if way is not None and way[1].remote}


async def _program(context: EngineContext, before: Sandbox | None, after: Sandbox) -> None:
    """Tell drivers where the container is reached now.  When one refuses all is as before, and that is raised."""
    had, has = _ways_out(context, before), _ways_out(context, after)
    try:
        async with context.locks.released():
            for place in _only(had, has):
                if after.endpoint_on(place.network.id) is not None:
                    await _heard(context.plugins.networks(place.network.driver).revoke(place.endpoint))
            for place in _only(has, had):
                await context.plugins.networks(place.network.driver).program(after, place.endpoint)
    except BaseException as problem:
        if before is not None and len(after.endpoints) < len(before.endpoints):
            _log.error("container=%s ports=unreachable reason=%s", after.name, problem)
            return
        await _go_back(context, before, after)
        raise
    for place in _difference(context, after, before):
        driver = context.plugins.networks(place.network.driver)
        context.background.start(driver.look(place.endpoint), f"look {place.endpoint.id[:12]}")


async def _go_back(context: EngineContext, before: Sandbox | None, after: Sandbox) -> None:
    """Undo a change that was carried out, unless somebody took the sandbox away meanwhile."""
    if context.state.sandbox(after.id) is not after:
        return
    if before is None:
        await apply.delete_sandbox(context, after)
        return
    await apply.apply_change(context, after, before)
    async with context.locks.released():
        for place in _only(_ways_out(context, before), _ways_out(context, after)):
            await _heard(context.plugins.networks(place.network.driver).program(before, place.endpoint))


def _only(these: dict[str, _Place], others: dict[str, _Place]) -> list[_Place]:
    return [place for identifier, place in these.items() if identifier not in others]


# Taking back


async def _depart(context: EngineContext, sandbox: Sandbox | None, places: Sequence[_Place]) -> list[_Place]:
    """Announce that endpoints go, and return those whose drivers heard it.

    They are noted, so that what a dead plugin does not hear now it hears at the next start.
    """
    if not places:
        return []
    out = _ways_out(context, sandbox)
    told = []
    async with context.locks.released():
        await context.store.write(*(Put(ORPHAN, one.endpoint.id, one.orphan) for one in places), durable=False)
        for place in places:
            driver = context.plugins.networks(place.network.driver)
            if place.endpoint.id in out and not await _heard(driver.revoke(place.endpoint)):
                continue
            if await _heard(driver.leave(place.network.id, place.endpoint.id)):
                told.append(place)
    return told


async def _delete(context: EngineContext, places: Sequence[_Place]) -> None:
    """Have endpoints deleted that were left before."""
    if not places:
        return
    async with context.locks.released():
        for place in places:
            driver = context.plugins.networks(place.network.driver)
            if await _heard(driver.delete_endpoint(place.network.id, place.endpoint.id)):
                await context.store.write(Drop(ORPHAN, place.endpoint.id), durable=False)


async def _take_back(context: EngineContext, orphans: Iterable[Orphan]) -> None:
    """Leave and delete; what cannot be told to the plugin now stays noted."""
    for orphan in orphans:
        driver = context.plugins.networks(orphan.driver)
        if orphan.endpoint:
            told = await _heard(driver.leave(orphan.network, orphan.endpoint))
            told = told and await _heard(driver.delete_endpoint(orphan.network, orphan.endpoint))
        else:
            told = await _heard(driver.delete_network(orphan.network))
        if told:
            await context.store.write(Drop(ORPHAN, orphan.id), durable=False)


async def _heard(call: Awaitable[None]) -> bool:
    """Go on whatever becomes of it; tell whether the plugin heard it.  One that refuses has heard it too."""
    try:
        await call
    except Problem as problem:
        _log.warning("plugin=failing reason=%s", problem.message)
        return not isinstance(problem, PluginUnreachable | PluginNotFound)
    return True
