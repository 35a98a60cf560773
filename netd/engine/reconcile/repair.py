"""Comparing what the kernel holds with what it should hold, and making it so."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from netd import facts
from netd.common.errors import Problem
from netd.common.store.store import Drop, Put
from netd.engine.change import apply, plugin_calls
from netd.engine.context import EngineContext
from netd.engine.sandboxes.actions import release
from netd.facts import Step, Verb
from netd.model import Sandbox
from netd.portmap.rules import Ruleset

_log = logging.getLogger(__name__)


async def reconcile(context: EngineContext) -> bool:
    """Bring kernel and firewall to what the state says, and tell whether all of it could be done.

    Sandboxes whose namespace is gone have no process left that could use another: they are forgotten.  To be called
    while nothing else changes anything.
    """
    restored = await _restore_firewall(context)
    have = await context.host.observe()
    await _forget(context, [one for one in context.state.sandboxes if _is_gone(one, have)])
    steps = facts.plan(context.desired_state.everything(), have)
    if context.store.incidents:
        # What has no record may have lost it.
        steps = tuple(step for step in steps if step.verb is not Verb.DEL)
    if steps:
        _log.info("mending=%s", " ".join(f"{step.verb.value}:{'/'.join(step.fact.key)}" for step in steps))
    whole = await _apply(context, steps)
    rules = context.desired_state.ruleset()
    await (context.host.update_firewall(rules) if restored else context.host.reset_firewall(rules))
    if context.stray_check_needed.is_set():
        await _drop_strays(context, rules)
    return whole


async def _drop_strays(context: EngineContext, rules: Ruleset) -> None:
    """Drop the connections that the firewall would not have admitted; a change meanwhile asks for it again."""
    context.stray_check_needed.clear()
    try:
        strays = await context.host.delete_stray_connections(rules)
    except Exception:
        context.stray_check_needed.set()
        raise
    if strays:
        _log.warning("connections-dropped=%d reason=began-while-the-firewall-was-gone", strays)


async def _restore_firewall(context: EngineContext) -> bool:
    """Rebuild the firewall before anything else, because networks are open without it, and tell whether that worked."""
    try:
        await context.host.reset_firewall(context.desired_state.ruleset())
    except Problem as problem:
        _log.error("firewall=not-restored reason=%s", problem.message)
        return False
    return True


def _is_gone(sandbox: Sandbox, have: facts.State) -> bool:
    return not sandbox.on_host and ("namespace", sandbox.id) not in have


async def _forget(context: EngineContext, sandboxes: Sequence[Sandbox]) -> None:
    records: list[Put | Drop] = []
    for sandbox in sandboxes:
        _log.warning("sandbox=%s name=%s forgotten=true reason=its-namespace-is-gone", sandbox.id[:12], sandbox.name)
        records += await apply.discard(context, sandbox)
        release(context, sandbox)
    await plugin_calls.delete_endpoints_later(context, sandboxes)
    if records:
        await context.store.write_best_effort(*records)


async def _apply(context: EngineContext, steps: Iterable[Step]) -> bool:
    """Carry out the steps one by one, so that one that fails keeps no other from being done."""
    whole = True
    for step in steps:
        try:
            await context.host.apply([step])
        except Problem as problem:
            _log.error("step=%s:%s failed=true reason=%s", step.verb.value, "/".join(step.fact.key), problem.message)
            whole = False
    return whole
