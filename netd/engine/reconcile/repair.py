"""Comparing what the kernel holds with what it should hold, and making it so."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from netd import facts
from netd.common.errors import Problem
from netd.common.store.store import Drop, Put
from netd.engine.change import apply, plugin_calls
from netd.engine.context import World
from netd.engine.sandboxes.actions import give_back
from netd.facts import Step, Verb
from netd.model import Sandbox
from netd.portmap.rules import Ruleset

_log = logging.getLogger(__name__)


async def mend(world: World) -> bool:
    """Bring kernel and firewall to what the state says, and tell whether all of it could be done.

    Sandboxes whose namespace is gone have no process left that could use another: they are forgotten.  To be called
    while nothing else changes anything.
    """
    restored = await _restore_firewall(world)
    have = await world.host.observe()
    await _forget(world, [one for one in world.state.sandboxes if _is_gone(one, have)])
    steps = facts.plan(world.wanted.everything(), have)
    if world.store.incidents:
        # What has no record may have lost it.
        steps = tuple(step for step in steps if step.verb is not Verb.DEL)
    if steps:
        _log.info("mending=%s", " ".join(f"{step.verb.value}:{'/'.join(step.fact.key)}" for step in steps))
    whole = await _apply(world, steps)
    rules = world.wanted.ruleset()
    await (world.host.publish(rules) if restored else world.host.reset_firewall(rules))
    if world.strays_possible.is_set():
        await _drop_strays(world, rules)
    return whole


async def _drop_strays(world: World, rules: Ruleset) -> None:
    """Drop the connections that the firewall would not have admitted; a change meanwhile asks for it again."""
    world.strays_possible.clear()
    try:
        strays = await world.host.forget_strays(rules)
    except Exception:
        world.strays_possible.set()
        raise
    if strays:
        _log.warning("connections-dropped=%d reason=began-while-the-firewall-was-gone", strays)


async def _restore_firewall(world: World) -> bool:
    """Rebuild the firewall before anything else, because networks are open without it, and tell whether that worked."""
    try:
        await world.host.reset_firewall(world.wanted.ruleset())
    except Problem as problem:
        _log.error("firewall=not-restored reason=%s", problem.message)
        return False
    return True


def _is_gone(sandbox: Sandbox, have: facts.State) -> bool:
    return not sandbox.on_host and ("namespace", sandbox.id) not in have


async def _forget(world: World, sandboxes: Sequence[Sandbox]) -> None:
    records: list[Put | Drop] = []
    for sandbox in sandboxes:
        _log.warning("sandbox=%s name=%s forgotten=true reason=its-namespace-is-gone", sandbox.id[:12], sandbox.name)
        records += await apply.forget(world, sandbox)
        give_back(world, sandbox)
    await plugin_calls.abandon(world, sandboxes)
    if records:
        await world.store.note(*records)


async def _apply(world: World, steps: Iterable[Step]) -> bool:
    """Carry out the steps one by one, so that one that fails keeps no other from being done."""
    whole = True
    for step in steps:
        try:
            await world.host.apply([step])
        except Problem as problem:
            _log.error("step=%s:%s failed=true reason=%s", step.verb.value, "/".join(step.fact.key), problem.message)
            whole = False
    return whole
