"""The one way from a sandbox as it is to the sandbox as it should be: kernel, firewall, names, record, events.

The state holds the new record from the first moment, so that everything computed meanwhile agrees.  What fails is
undone: the same way, back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from netd import facts
from netd.common.errors import Problem, Unavailable
from netd.common.store.store import Drop, Put
from netd.dns.records import Patch
from netd.engine.context import SANDBOX, EngineContext
from netd.facts import Step
from netd.host_protocol import Flows
from netd.model import Endpoint, Network, Sandbox
from netd.portmap.rules import Opened, Published, Ruleset, RulesetChange
from netd.portmap.unpublish import minus

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SandboxChange:
    """What lies between two states of one sandbox.  Holds what has to be known before the state changes."""

    id: str
    before: Sandbox | None
    after: Sandbox | None
    steps: tuple[Step, ...]
    lost: frozenset[Published]
    gained: frozenset[Published]
    closed: frozenset[Opened]
    opened: frozenset[Opened]
    left: tuple[tuple[Endpoint, Network], ...]
    joined: tuple[tuple[Endpoint, Network], ...]


async def apply_change(context: EngineContext, before: Sandbox | None, after: Sandbox) -> None:
    """Make *after* of *before*.  When it fails, all is as before, and what failed is raised."""
    move = _enter(context, after.id, before, after)
    try:
        await _apply(context, move)
        await _confirm(context, move)
    except BaseException:
        await _undo(context, move)
        raise
    _conclude(context, move)


async def delete_sandbox(context: EngineContext, sandbox: Sandbox) -> None:
    """Take a sandbox away.  It counts as gone at once; what the kernel will not let go of is left to the repair."""
    move = _enter(context, sandbox.id, sandbox, None)
    results = await asyncio.gather(_apply(context, move), _confirm(context, move), return_exceptions=True)
    _conclude(context, move)
    for problem in results:
        if isinstance(problem, Problem):
            _log.error("sandbox=%s removal=incomplete reason=%s", move.id[:12], problem.message)
            context.repair_needed.set()
        elif isinstance(problem, BaseException):
            raise problem


async def discard(context: EngineContext, sandbox: Sandbox) -> list[Put | Drop]:
    """Take a sandbox out of the state and the names, and return what is to be recorded.

    Of the kernel's part there is nothing left.
    """
    move = _enter(context, sandbox.id, sandbox, None)
    await context.dns.close_sandbox(sandbox.id)
    _conclude(context, move)
    return _records(context, move)


def has_names(sandbox: Sandbox) -> bool:
    """Tell whether the sandbox has names to look up."""
    return not sandbox.on_host and any(endpoint.addresses for endpoint in sandbox.endpoints)


async def open_resolver(context: EngineContext, sandbox: Sandbox) -> None:
    """Let the name server answer in the sandbox, if it should and does not yet; its view is not told here."""
    if has_names(sandbox) and sandbox.id not in context.dns.held:
        await context.dns.open_sandbox(sandbox.id, await context.host.open_resolver(sandbox.id))


async def move_resolver(context: EngineContext, sandbox: Sandbox) -> None:
    """Where another firewall led to the sandbox's resolver before, let the one that is in use do so."""
    if has_names(sandbox) and (moved := await context.host.move_resolver(sandbox.id)):
        await context.dns.open_sandbox(sandbox.id, moved)


def _enter(context: EngineContext, identifier: str, before: Sandbox | None, after: Sandbox | None) -> SandboxChange:
    """Compute the move, put *after* into the state and its names into the books and to the name server."""
    wanted = context.desired_state
    have, had, was_open = wanted.sandbox(before), wanted.published(before), wanted.opened(before)
    places = _places(context, before)
    if after is None:
        context.state.drop_sandbox(identifier)
    else:
        context.state.put_sandbox(after)
    want, will, open_now = wanted.sandbox(after), wanted.published(after), wanted.opened(after)
    now = _places(context, after)
    move = SandboxChange(
        identifier,
        before,
        after,
        facts.plan(want, have),
        lost=had - will,
        gained=will - had,
        closed=was_open - open_now,
        opened=open_now - was_open,
        left=tuple(place for key, place in places.items() if key not in now),
        joined=tuple(place for key, place in now.items() if key not in places),
    )
    _turn_names(context, before, after)
    return move


def _places(context: EngineContext, sandbox: Sandbox | None) -> dict[str, tuple[Endpoint, Network]]:
    return {one.id: (one, network) for one, network in context.state.networks_of(sandbox)} if sandbox else {}


def _turn_names(context: EngineContext, before: Sandbox | None, after: Sandbox | None) -> None:
    networks = {one.network for sandbox in (before, after) if sandbox for one in sandbox.endpoints}
    for network in networks & context.network_names.keys():
        patch: Patch | None = context.network_names[network].update(before, after)
        if patch is not None:
            context.dns.patch_network(network, patch)


async def _apply(context: EngineContext, move: SandboxChange) -> None:
    """Bring the kernel there, in an order in which what is published leads to something at every moment.

    All of it is handed over at once: the host does one thing after the other, and nobody waits in between.
    """
    await context.background.wait_for([str(one.ip) for endpoint, _ in move.joined for one in endpoint.addresses])
    work: list[Coroutine[Any, Any, None]] = []
    gone = Ruleset(published=move.lost, opened=move.closed)
    come = Ruleset(published=move.gained, opened=move.opened)
    if gone and not come:
        work.append(context.host.change_firewall(RulesetChange(gone, come)))
    if move.steps:
        work.append(context.host.apply(move.steps))
    if come:
        work.append(context.host.change_firewall(RulesetChange(gone, come)))
    if move.after is not None:
        work.append(open_resolver(context, move.after))
    failures = [found for found in await asyncio.gather(*work, return_exceptions=True) if found is not None]
    if failures:
        raise failures[0]


def _forget_flows(context: EngineContext, move: SandboxChange) -> None:
    """Connections that the kernel goes on translating would lead to whoever has the address next.

    Those that came for a udp port before it was published would go on being led to the host.  Looking for them
    takes the kernel 12 ms and more; who gets the address next waits for that, and who must know it over.
    """
    kept = {one.ip for endpoint in move.after.endpoints for one in endpoint.addresses} if move.after else set()
    addresses = {one.target for one in move.lost} - kept
    closed = [one for one in minus(move.lost, move.gained) if one.target in kept]
    new = [one for one in minus(move.gained, move.lost) if one.protocol == "udp"]
    if addresses or closed or new:
        forgetting = context.host.delete_flows(Flows(frozenset(addresses), tuple(closed), tuple(new)))
        about = {move.id, *(str(one) for one in addresses)}
        context.background.start(forgetting, f"forget-flows {move.id[:12]}", about)


async def _confirm(context: EngineContext, move: SandboxChange) -> None:
    """Record what is, and wait until names are in force."""
    if move.after is None:
        await context.dns.close_sandbox(move.id)
    elif move.id in context.dns.held:
        context.dns.set_view(move.id, context.dns_view(move.after))
    recorded = context.store.write(*_records(context, move), durable=False)
    await asyncio.gather(recorded, _patiently(context.dns.flush()))


def _records(context: EngineContext, move: SandboxChange) -> list[Put | Drop]:
    """Return the sandbox's record, and what is kept in mind of the networks that it leaves."""
    record = Put(SANDBOX, move.id, move.after) if move.after else Drop(SANDBOX, move.id)
    left = [endpoint for endpoint, _ in move.left]
    return [record, *(context.state.address_history.record(move.before.name, left) if move.before and left else ())]


async def _patiently(flush: Awaitable[None]) -> None:
    """A name server that is slow to take over what it was told is no reason to refuse a container."""
    try:
        await flush
    except Unavailable as problem:
        _log.error("names=late reason=%s", problem.message)


async def _undo(context: EngineContext, move: SandboxChange) -> None:
    """Go back; a network that was removed meanwhile is not gone back to."""
    before = move.before
    if before is not None:
        kept = tuple(endpoint for endpoint in before.endpoints if context.state.has_network(endpoint.network))
        before = replace(before, endpoints=kept)
    back = _enter(context, move.id, move.after, before)
    for step in (_apply, _confirm):
        try:
            await step(context, back)
        except Problem as problem:
            _log.error("sandbox=%s undo=incomplete reason=%s", move.id[:12], problem.message)
            context.repair_needed.set()


def _conclude(context: EngineContext, move: SandboxChange) -> None:
    """Tell of what was done, and see to what nobody has to wait for."""
    _forget_flows(context, move)
    for _, network in move.left:
        context.publish_event(network, "disconnect", move.id)
    for _, network in move.joined:
        context.publish_event(network, "connect", move.id)
