"""Calls of network plugins around a change: before it, after it, and to revert it.

Networks without a plugin are skipped.  While a plugin is called, the object's lock does not block the exclusive
lock.  Before a plugin is called to create an object, the object is stored as an orphan; the orphan is dropped when a
record refers to the object or the plugin deleted it.  The next start of netd deletes the objects of the remaining
orphans, which an interruption or an unreachable plugin left.
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
from netd.common.store.store import Drop, Put, Store
from netd.engine.change import apply, network_setup
from netd.engine.context import NETWORK, ORPHAN, EngineContext
from netd.engine.state.routes import egress_endpoint
from netd.engine.state.state import State
from netd.host_protocol import Host
from netd.model import Endpoint, Network, Sandbox
from netd.remote.caller import PluginNotFound, PluginUnreachable
from netd.remote.plugins import Plugins

_log = logging.getLogger(__name__)


class Orphan(msgspec.Struct, frozen=True):
    """A network or endpoint that may exist at a plugin although no record refers to it."""

    driver: str
    network: str
    endpoint: str = ""
    """"" for the network itself."""

    @property
    def id(self) -> str:
        return self.endpoint or self.network


@dataclass(frozen=True, slots=True)
class _Attachment:
    endpoint: Endpoint
    network: Network

    @property
    def orphan(self) -> Orphan:
        return Orphan(self.network.driver, self.network.id, self.endpoint.id)


# Networks


async def create_network(context: EngineContext, network: Network) -> None:
    """Create a pending, registered network at its plugin.  Raises the plugin's Problem; it is unregistered then."""
    orphan = Orphan(network.driver, network.id)
    try:
        await context.store.write(Put(ORPHAN, orphan.id, orphan), durable=False)
        await context.plugins.networks(network.driver).create_network(network)
        await context.store.write(Put(NETWORK, network.id, network), Drop(ORPHAN, orphan.id))
    except BaseException:
        network_setup.unregister(context, network)
        await _delete_orphans(context.plugins, context.store, [orphan])
        raise
    finally:
        context.pending_networks.discard(network.id)


async def delete_network(context: EngineContext, network: Network) -> None:
    """Delete a pending network at its plugin and in netd; the plugin's refusal is ignored."""
    orphan = Orphan(network.driver, network.id)
    try:
        await context.store.write(Put(ORPHAN, orphan.id, orphan), durable=False)
        await _delete_orphans(context.plugins, context.store, [orphan])
        await network_setup.delete(context, network)
    finally:
        context.pending_networks.discard(network.id)


def check_not_pending(pending_networks: set[str], network: Network) -> None:
    """Raise Conflict while a plugin creates or deletes the network."""
    if network.id in pending_networks:
        raise Conflict(f"network {network.name} is being created or removed; try again in a moment")


# Sandboxes


async def apply_change(
    context: EngineContext, before: Sandbox | None, after: Sandbox, finish: Callable[[Sandbox], Sandbox]
) -> Sandbox:
    """Change a sandbox as ``apply.apply_change`` does; return it with the values that plugins assigned.

    *finish* adds the publications; it is called when the default routes are known.
    """
    added, removed = _difference(context.state, after, before), _difference(context.state, before, after)
    if not _remote(context.state, before) and not added:
        after = finish(after)
        await apply.apply_change(context, before, after)
        return after
    async with _created_endpoints(context, before, after, added) as created:
        complete = finish(created)
        left = await _leave(context, before, removed)
        _check_unchanged(context.state, before, after)
        await apply.apply_change(context, before, complete)
        await _program_connectivity(context, before, complete)
        drops = (Drop(ORPHAN, attachment.endpoint.id) for attachment in added)
        await context.store.write(*drops, durable=False)
    await _delete_endpoints(context, left)
    return complete


async def delete_sandbox(context: EngineContext, sandbox: Sandbox) -> bool:
    """Delete a sandbox; plugins' refusals are ignored.  Return False if a repair deleted it meanwhile."""
    left = await _leave(context, sandbox, _remote(context.state, sandbox))
    if context.state.sandbox(sandbox.id) is not sandbox:
        return False
    await apply.delete_sandbox(context, sandbox)
    await _delete_endpoints(context, left)
    return True


async def delete_endpoints_later(context: EngineContext, sandboxes: Iterable[Sandbox]) -> None:
    """Delete the endpoints of deleted sandboxes at their plugins, in the background."""
    state = context.state
    orphans = [
        _Attachment(endpoint, state.network(endpoint.network)).orphan
        for sandbox in sandboxes
        for endpoint in sandbox.endpoints
        if state.has_network(endpoint.network) and state.network(endpoint.network).remote
    ]
    if orphans:
        await context.store.write(*(Put(ORPHAN, orphan.id, orphan) for orphan in orphans), durable=False)
        context.background.start(_delete_orphans(context.plugins, context.store, orphans), "delete-orphans")


def delete_orphans(context: EngineContext) -> None:
    """Delete, in the background, the objects that an earlier netd left at plugins."""
    kept = {endpoint.id for sandbox in context.state.sandboxes for endpoint in sandbox.endpoints}
    kept |= {network.id for network in context.state.networks}
    orphans = [orphan for orphan in context.store.load(ORPHAN, Orphan).values() if orphan.id not in kept]
    if orphans:
        orphans.sort(key=lambda orphan: not orphan.endpoint)
        context.background.start(_delete_orphans(context.plugins, context.store, orphans), "delete-orphans")


def _remote(state: State, sandbox: Sandbox | None) -> list[_Attachment]:
    """Return the sandbox's endpoints on networks of plugins."""
    found = state.networks_of(sandbox) if sandbox else ()
    return [_Attachment(endpoint, network) for endpoint, network in found if network.remote]


def _difference(state: State, sandbox: Sandbox | None, other: Sandbox | None) -> list[_Attachment]:
    """Return the remote endpoints of *sandbox* that *other* does not have."""
    have = {endpoint.id for endpoint in other.endpoints} if other else set()
    return [attachment for attachment in _remote(state, sandbox) if attachment.endpoint.id not in have]


@asynccontextmanager
async def _created_endpoints(
    context: EngineContext, before: Sandbox | None, after: Sandbox, added: list[_Attachment]
) -> AsyncIterator[Sandbox]:
    """Create and join the endpoints at their plugins; leave and delete them when the body fails."""
    networks = [attachment.network.id for attachment in added]
    context.pending_endpoints.update(networks)
    try:
        async with context.locks.released():
            await _store_orphans(context.store, added)
            for attachment in added:
                after = await _create_endpoint(context.plugins, context.host, after, attachment)
        _check_unchanged(context.state, before, after)
        yield after
    except BaseException:
        async with context.locks.released():
            orphans = [attachment.orphan for attachment in added]
            await _delete_orphans(context.plugins, context.store, orphans)
        raise
    finally:
        context.pending_endpoints.subtract(networks)


async def _create_endpoint(plugins: Plugins, host: Host, sandbox: Sandbox, attachment: _Attachment) -> Sandbox:
    network = attachment.network
    driver = plugins.networks(network.driver)
    created = await driver.create_endpoint(network, sandbox, attachment.endpoint)
    joined = await driver.join(sandbox, created, host.namespace_path(sandbox.id))
    if not any(map(joined.has_default_route, FAMILIES)) and not network.internal:
        _log.info("endpoint has no default route: endpoint=%s network=%s", created.id[:12], network.name)
    endpoints = (joined if endpoint.id == joined.id else endpoint for endpoint in sandbox.endpoints)
    return replace(sandbox, endpoints=tuple(endpoints))


def _check_unchanged(state: State, before: Sandbox | None, after: Sandbox) -> None:
    """Raise NotFound or Conflict if the sandbox was deleted or created while a plugin was called."""
    if before is not None and state.sandbox(before.id) is not before:
        raise NotFound(f"container {before.name} was removed while a network driver was called")
    if before is None and state.sandbox_by_short_id(after.id) is not None:
        raise Conflict(f"another container with the id {after.id[:12]} was created meanwhile")


def _egress_endpoints(state: State, sandbox: Sandbox | None) -> dict[str, _Attachment]:
    """Return, by endpoint id, the remote endpoints with the default route of a family, which publish ports."""
    found = [egress_endpoint(state, sandbox, family) for family in FAMILIES] if sandbox else []
    return {egress[0].id: _Attachment(*egress) for egress in found if egress is not None and egress[1].remote}


async def _program_connectivity(context: EngineContext, before: Sandbox | None, after: Sandbox) -> None:
    """Call RevokeExternalConnectivity and ProgramExternalConnectivity for endpoints that lost or got a default route.

    A refusal of a plugin reverts the change and is raised; after a disconnect it is logged only.
    """
    old, new = _egress_endpoints(context.state, before), _egress_endpoints(context.state, after)
    plugins = context.plugins
    try:
        async with context.locks.released():
            for attachment in _missing(old, new):
                if after.endpoint_on(attachment.network.id) is not None:
                    await _is_delivered(plugins.networks(attachment.network.driver).revoke(attachment.endpoint))
            for attachment in _missing(new, old):
                await plugins.networks(attachment.network.driver).program(after, attachment.endpoint)
    except BaseException as problem:
        if before is not None and len(after.endpoints) < len(before.endpoints):
            _log.error("ports are unreachable: container=%s error=%s", after.name, problem)
            return
        await _revert(context, before, after)
        raise
    for attachment in _difference(context.state, after, before):
        driver = plugins.networks(attachment.network.driver)
        context.background.start(driver.look(attachment.endpoint), f"look {attachment.endpoint.id[:12]}")


async def _revert(context: EngineContext, before: Sandbox | None, after: Sandbox) -> None:
    """Revert a change that was applied, unless a repair deleted the sandbox meanwhile."""
    if context.state.sandbox(after.id) is not after:
        return
    if before is None:
        await apply.delete_sandbox(context, after)
        return
    await apply.apply_change(context, after, before)
    async with context.locks.released():
        for attachment in _missing(_egress_endpoints(context.state, before), _egress_endpoints(context.state, after)):
            driver = context.plugins.networks(attachment.network.driver)
            await _is_delivered(driver.program(before, attachment.endpoint))


def _missing(attachments: dict[str, _Attachment], others: dict[str, _Attachment]) -> list[_Attachment]:
    """Return the attachments that are not among the *others*."""
    return [attachment for identifier, attachment in attachments.items() if identifier not in others]


# Deletion


async def _leave(
    context: EngineContext, sandbox: Sandbox | None, attachments: Sequence[_Attachment]
) -> list[_Attachment]:
    """Call RevokeExternalConnectivity and Leave for endpoints; return those whose plugins received the calls.

    The endpoints are stored as orphans, so that the next start repeats calls that an unreachable plugin missed.
    """
    if not attachments:
        return []
    egress = _egress_endpoints(context.state, sandbox)
    left = []
    async with context.locks.released():
        await _store_orphans(context.store, attachments)
        for attachment in attachments:
            network, endpoint = attachment.network, attachment.endpoint
            driver = context.plugins.networks(network.driver)
            if endpoint.id in egress and not await _is_delivered(driver.revoke(endpoint)):
                continue
            if await _is_delivered(driver.leave(network.id, endpoint.id)):
                left.append(attachment)
    return left


async def _delete_endpoints(context: EngineContext, attachments: Sequence[_Attachment]) -> None:
    """Delete endpoints at their plugins, after ``_leave``."""
    if not attachments:
        return
    async with context.locks.released():
        for attachment in attachments:
            driver = context.plugins.networks(attachment.network.driver)
            if await _is_delivered(driver.delete_endpoint(attachment.network.id, attachment.endpoint.id)):
                await context.store.write(Drop(ORPHAN, attachment.endpoint.id), durable=False)


async def _store_orphans(store: Store, attachments: Iterable[_Attachment]) -> None:
    puts = (Put(ORPHAN, attachment.endpoint.id, attachment.orphan) for attachment in attachments)
    await store.write(*puts, durable=False)


async def _delete_orphans(plugins: Plugins, store: Store, orphans: Iterable[Orphan]) -> None:
    """Leave and delete endpoints, and delete networks; orphans of unreachable plugins stay stored."""
    for orphan in orphans:
        driver = plugins.networks(orphan.driver)
        if orphan.endpoint:
            delivered = await _is_delivered(driver.leave(orphan.network, orphan.endpoint))
            delivered = delivered and await _is_delivered(driver.delete_endpoint(orphan.network, orphan.endpoint))
        else:
            delivered = await _is_delivered(driver.delete_network(orphan.network))
        if delivered:
            await store.write(Drop(ORPHAN, orphan.id), durable=False)


async def _is_delivered(call: Awaitable[None]) -> bool:
    """Return whether the plugin received the call, even if it returned an error; failures are logged and not raised."""
    try:
        await call
    except Problem as problem:
        _log.warning("plugin call failed: error=%s", problem.message)
        return not isinstance(problem, PluginUnreachable | PluginNotFound)
    return True
