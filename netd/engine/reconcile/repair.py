"""Reconciliation: comparing the kernel with the desired state and applying the difference."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence

from netd import facts
from netd.common.errors import Problem
from netd.common.events import event
from netd.common.store.store import Drop, Put
from netd.engine.change import apply, plugin_calls
from netd.engine.context import EngineContext
from netd.engine.reconcile import resolvers
from netd.engine.reconcile.convergence import Convergence, differences
from netd.engine.reconcile.inside import left_alone
from netd.engine.sandboxes.actions import release
from netd.facts import DefaultRoute, Macvlan, Namespace, Pair, PluginLink, Step, Verb
from netd.host_protocol import Host
from netd.model import Sandbox
from netd.portmap.rules import Ruleset

_log = logging.getLogger(__name__)


async def reconcile(context: EngineContext, convergence: Convergence | None = None) -> bool:
    """Bring kernel and firewall to the desired state; return whether all steps succeeded.

    *convergence* delays steps that had no effect.  Deletes the records of sandboxes whose namespace no longer exists,
    because no process could use a new namespace.
    The caller holds the exclusive lock.
    """
    host = context.host
    restored = await _restore_firewall(host, context.desired_state.ruleset())
    have = await host.observe()
    await _delete_lost(context, [sandbox for sandbox in context.state.sandboxes if _is_lost(sandbox, have)])
    steps = _steps(context, have)
    if convergence is not None:
        steps = convergence.due(steps, time.monotonic())
    if steps:
        _log.info("repairing: steps=%s", ",".join(map(_describe, steps)))
        context.counts.update(repairs=1, repair_steps=len(steps))
    complete = await _apply(host, steps)
    if complete:
        context.unsettled.clear()
    if convergence is not None and convergence.repeated(steps):
        left = _steps(context, await host.observe())
        _report(context, convergence.without_effect(steps, left, time.monotonic()))
    rules = context.desired_state.ruleset()
    await (host.update_firewall(rules) if restored else host.reset_firewall(rules))
    if context.stray_check_needed.is_set():
        await _delete_stray_connections(host, context.stray_check_needed, rules)
    return await resolvers.retry(context) and complete


def _steps(context: EngineContext, have: facts.State) -> tuple[Step, ...]:
    steps = facts.plan(context.desired_state.everything(), have)
    if context.store.incidents:
        # An object without a record may belong to a record that the store lost.
        steps = tuple(step for step in steps if step.verb is not Verb.DEL)
    return left_alone(steps, context.unsettled)


def _report(context: EngineContext, steps: Sequence[Step]) -> None:
    """Log a step without effect, and publish an event of the network or container that it belongs to."""
    for step in steps:
        found = differences(step)
        _log.error("repair without effect, retrying later: step=%s error=%s", _describe(step), found)
        attributes = {"object": "/".join(step.fact.key), "difference": found}
        if isinstance(step.fact, Namespace | Pair | Macvlan | PluginLink | DefaultRoute):
            sandbox = context.state.sandbox(step.fact.sandbox)
            if sandbox is not None:
                name = {"name": sandbox.name}
                context.bus.publish(event("container", "repair: failed", sandbox.id, name | attributes))
        else:
            for network in context.state.networks:
                if step.fact.key in context.desired_state.network(network):
                    context.publish_event(network, "repair: failed", **attributes)


async def _delete_stray_connections(host: Host, stray_check_needed: asyncio.Event, rules: Ruleset) -> None:
    """Delete the connections that the firewall would not have admitted.  A change during the check requests another."""
    stray_check_needed.clear()
    try:
        count = await host.delete_stray_connections(rules)
    except Exception:
        stray_check_needed.set()
        raise
    if count:
        _log.warning("connections deleted that began while the firewall rules were missing: count=%d", count)


async def _restore_firewall(host: Host, rules: Ruleset) -> bool:
    """Rebuild the firewall first, because without it networks are not isolated; return whether it succeeded."""
    try:
        await host.reset_firewall(rules)
    except Problem as problem:
        _log.error("firewall not restored: error=%s", problem.message)
        return False
    return True


def _is_lost(sandbox: Sandbox, have: facts.State) -> bool:
    return not sandbox.on_host and ("namespace", sandbox.id) not in have


async def _delete_lost(context: EngineContext, sandboxes: Sequence[Sandbox]) -> None:
    records: list[Put | Drop] = []
    for sandbox in sandboxes:
        _log.warning(
            "sandbox deleted, its namespace is missing: sandbox=%s container=%s", sandbox.id[:12], sandbox.name
        )
        records += await apply.discard(context, sandbox)
        release(context, sandbox)
    await plugin_calls.delete_endpoints_later(context, sandboxes)
    if records:
        await context.store.write_best_effort(*records)


async def _apply(host: Host, steps: Iterable[Step]) -> bool:
    """Apply the steps one by one, so that a failure does not prevent the others; return whether all succeeded."""
    complete = True
    for step in steps:
        try:
            await host.apply([step])
        except Problem as problem:
            _log.error("repair step failed: step=%s error=%s", _describe(step), problem.message)
            complete = False
    return complete


def _describe(step: Step) -> str:
    found = differences(step)
    return f"{step.verb.value}:{'/'.join(step.fact.key)}" + (f" ({found})" if found else "")
