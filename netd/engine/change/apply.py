"""Changes of one sandbox: kernel, firewall, netd-dns, store, events.

The state holds the new record from the beginning of the change, so that computations meanwhile use it.  The same
functions revert a change that fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from netd import facts
from netd.common.errors import Unavailable
from netd.common.store.store import Drop, Put
from netd.common.tasks import start_awaited
from netd.dns.client.dns_client import DnsClient
from netd.engine.background import BackgroundJobs
from netd.engine.change.rollback import left_to_repair, rollback
from netd.engine.context import SANDBOX, EngineContext
from netd.engine.state.state import State
from netd.facts import Step
from netd.host_protocol import Flows, Host
from netd.model import Endpoint, Network, Sandbox
from netd.portmap.rules import Opened, Published, Ruleset, RulesetChange
from netd.portmap.unpublish import minus

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SandboxChange:
    """The difference between two records of one sandbox, in facts, rules and endpoints.

    Computed while the state changes, because the facts of each record are derived from the state that contains it.
    """

    id: str
    before: Sandbox | None
    after: Sandbox | None
    steps: tuple[Step, ...]
    unpublished: frozenset[Published]
    published: frozenset[Published]
    closed: frozenset[Opened]
    opened: frozenset[Opened]
    disconnected: tuple[tuple[Endpoint, Network], ...]
    connected: tuple[tuple[Endpoint, Network], ...]

    @property
    def label(self) -> str:
        return f"sandbox={self.id[:12]}"


async def apply_change(context: EngineContext, before: Sandbox | None, after: Sandbox) -> None:
    """Change a sandbox from *before* to *after*.  Raises the Problem that prevents it; the change is reverted then."""
    change = _begin(context, after.id, before, after)
    context.unsettled.add(after.id)
    async with rollback(context.repair_needed, change.label, partial(_revert, context, change)):
        flushing = _flush_early(context, change)
        try:
            await _apply(context, change)
        finally:
            if flushing is not None:
                await flushing
        await _confirm(context, change, flushed=flushing is not None)
    context.unsettled.discard(after.id)
    _finish(context, change)


async def delete_sandbox(context: EngineContext, sandbox: Sandbox) -> None:
    """Remove a sandbox from the state, then delete its objects; a failure is logged and left to the repair loop."""
    change = _begin(context, sandbox.id, sandbox, None)
    results = await asyncio.gather(_apply(context, change), _confirm(context, change), return_exceptions=True)
    _finish(context, change)
    for problem in results:
        if isinstance(problem, BaseException):
            with left_to_repair(context.repair_needed, f"sandbox not fully deleted: {change.label}"):
                raise problem


async def discard(context: EngineContext, sandbox: Sandbox) -> list[Put | Drop]:
    """Remove a sandbox that the kernel no longer holds from the state and netd-dns; return the changes to be stored."""
    change = _begin(context, sandbox.id, sandbox, None)
    await context.dns.close_sandbox(sandbox.id)
    _finish(context, change)
    return _records(context.state, change)


def has_names(sandbox: Sandbox) -> bool:
    """Return whether netd-dns serves the sandbox: it has a namespace of its own and an address."""
    return not sandbox.on_host and any(endpoint.addresses for endpoint in sandbox.endpoints)


async def open_resolver(dns: DnsClient, host: Host, sandbox: Sandbox) -> None:
    """Pass the sandbox's resolver sockets to netd-dns unless it has them; the view is set separately."""
    if has_names(sandbox) and sandbox.id not in dns.held:
        await dns.open_sandbox(sandbox.id, await host.open_resolver(sandbox.id))


async def move_resolver(dns: DnsClient, host: Host, sandbox: Sandbox) -> None:
    """Replace a DNS redirect that the other firewall backend made in the sandbox by one of the backend in use."""
    await dns.open_sandbox(sandbox.id, await host.move_resolver(sandbox.id))


def _begin(context: EngineContext, identifier: str, before: Sandbox | None, after: Sandbox | None) -> SandboxChange:
    """Compute the change, put *after* into the state and send its names to netd-dns."""
    wanted = context.desired_state
    have, old_published, old_opened = wanted.sandbox(before), wanted.published(before), wanted.opened(before)
    old_attachments = _attachments(context.state, before)
    if after is None:
        context.state.drop_sandbox(identifier)
    else:
        context.state.put_sandbox(after)
    want, published, opened = wanted.sandbox(after), wanted.published(after), wanted.opened(after)
    attachments = _attachments(context.state, after)
    change = SandboxChange(
        identifier,
        before,
        after,
        facts.plan(want, have),
        unpublished=old_published - published,
        published=published - old_published,
        closed=old_opened - opened,
        opened=opened - old_opened,
        disconnected=tuple(found for key, found in old_attachments.items() if key not in attachments),
        connected=tuple(found for key, found in attachments.items() if key not in old_attachments),
    )
    _update_dns_names(context, before, after)
    return change


def _attachments(state: State, sandbox: Sandbox | None) -> dict[str, tuple[Endpoint, Network]]:
    """Return the sandbox's endpoints and their networks by endpoint id."""
    return {endpoint.id: (endpoint, network) for endpoint, network in state.networks_of(sandbox)} if sandbox else {}


def _update_dns_names(context: EngineContext, before: Sandbox | None, after: Sandbox | None) -> None:
    networks = {endpoint.network for sandbox in (before, after) if sandbox for endpoint in sandbox.endpoints}
    for network in networks & context.network_names.keys():
        patch = context.network_names[network].update(before, after)
        if patch is not None:
            context.dns.patch_network(network, patch)


async def _apply(context: EngineContext, change: SandboxChange) -> None:
    """Change the kernel, in an order that leaves no published port without a target at any time.

    All calls are queued at once, because the host executes them in order.
    """
    addresses = [str(address.ip) for endpoint, _ in change.connected for address in endpoint.addresses]
    await context.background.wait_for(addresses)
    work: list[Coroutine[Any, Any, None]] = []
    removed = Ruleset(published=change.unpublished, opened=change.closed)
    added = Ruleset(published=change.published, opened=change.opened)
    rules = RulesetChange(removed, added) if removed or added else None
    if change.steps or rules:
        before, after = (None, rules) if added else (rules, None)
        work.append(context.host.apply(change.steps, before=before, after=after))
    if change.after is not None:
        work.append(open_resolver(context.dns, context.host, change.after))
    failures = [found for found in await asyncio.gather(*work, return_exceptions=True) if found is not None]
    if failures:
        raise failures[0]


def _delete_flows(host: Host, background: BackgroundJobs, change: SandboxChange) -> None:
    """Delete conntrack entries that contradict the new rules, in the background because it takes 12 ms and more.

    Otherwise established connections would be translated to the next container with a released address, and UDP flows
    that began before their port was published would still be delivered to the host.  A change that assigns one of the
    addresses, or unpublishes a port, waits for the job.
    """
    endpoints = change.after.endpoints if change.after else ()
    kept = {address.ip for endpoint in endpoints for address in endpoint.addresses}
    addresses = {rule.target for rule in change.unpublished} - kept
    closed = [rule for rule in minus(change.unpublished, change.published) if rule.target in kept]
    opened = [rule for rule in minus(change.published, change.unpublished) if rule.protocol == "udp"]
    if addresses or closed or opened:
        job = host.delete_flows(Flows(frozenset(addresses), tuple(closed), tuple(opened)))
        topics = {change.id, *map(str, addresses)}
        background.start(job, f"delete-flows {change.id[:12]}", topics)


def _flush_early(context: EngineContext, change: SandboxChange) -> asyncio.Future[None] | None:
    """Begin to flush the names beside the kernel's work, if netd-dns serves the sandbox already.

    Until the links are there, the new names lead to addresses that do not answer yet.
    """
    if change.after is None or change.id not in context.dns.held:
        return None
    context.dns.set_view(change.id, context.dns_view(change.after))
    return start_awaited(_flush(context.dns))


async def _confirm(context: EngineContext, change: SandboxChange, *, flushed: bool = False) -> None:
    """Store the record and wait until netd-dns serves the names, unless they are *flushed* already."""
    if change.after is None:
        await context.dns.close_sandbox(change.id)
    elif change.id in context.dns.held:
        context.dns.set_view(change.id, context.dns_view(change.after))
    stored = context.store.write(*_records(context.state, change), durable=False)
    await asyncio.gather(stored, *(() if flushed else (_flush(context.dns),)))


def _records(state: State, change: SandboxChange) -> list[Put | Drop]:
    """Return the change of the sandbox's document and of the address history."""
    record = Put(SANDBOX, change.id, change.after) if change.after else Drop(SANDBOX, change.id)
    released = [endpoint for endpoint, _ in change.disconnected]
    if change.before is None or not released:
        return [record]
    return [record, *state.address_history.record(change.before.name, released)]


async def _flush(dns: DnsClient) -> None:
    """Flush DNS changes.  A flush that times out is logged and does not fail the request."""
    try:
        await dns.flush()
    except Unavailable as problem:
        _log.error("DNS names are late: error=%s", problem.message)


async def _revert(context: EngineContext, change: SandboxChange) -> None:
    """Apply the reverse change, without endpoints of networks that were deleted meanwhile."""
    before = change.before
    if before is not None:
        kept = tuple(endpoint for endpoint in before.endpoints if context.state.has_network(endpoint.network))
        before = replace(before, endpoints=kept)
    reverse = _begin(context, change.id, change.after, before)
    for step in (_apply, _confirm):
        with left_to_repair(context.repair_needed, f"rollback failed: {change.label}"):
            await step(context, reverse)


def _finish(context: EngineContext, change: SandboxChange) -> None:
    """Publish the events, and start the work that the request does not wait for."""
    _delete_flows(context.host, context.background, change)
    for _, network in change.disconnected:
        context.publish_event(network, "disconnect", container=change.id)
    for _, network in change.connected:
        context.publish_event(network, "connect", container=change.id)
