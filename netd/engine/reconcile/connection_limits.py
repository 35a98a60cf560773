"""The limit on tracked connections per container: new connections of a container over its budget are dropped.

All containers share the host's connection-tracking table; when it is full, the kernel drops all new connections.  The
table's size is read periodically, and its entries are counted only when it is large enough for a container to be over
its budget.  The limit ends when the container has at most half of its budget.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from netd.common.addresses import Address
from netd.common.errors import Problem
from netd.common.events import event
from netd.engine.context import EngineContext
from netd.engine.state.connection_budget import budget_of, estimate, exceeds, sample_size, sources_of
from netd.host_protocol import ConnectionTable
from netd.portmap.rules import Ruleset, RulesetChange

_log = logging.getLogger(__name__)
_PAUSE = 0.5
"""Seconds between two checks.  For comparison: one processor can open some 50,000 connections per second."""
_REST = 60
"""Seconds of pause per second of processor time that the previous check took."""


async def watch(context: EngineContext) -> None:
    """Check periodically until cancelled; return at once when there is no budget."""
    while context.settings.connection_budget != 0:
        cpu_seconds = await check(context)
        await asyncio.sleep(max(_PAUSE, cpu_seconds * _REST))


async def check(context: EngineContext) -> float:
    """Update which containers are over their budget, and return the processor time, in seconds, of sampling.

    Exact counts are included only if they refute the estimate.
    """
    table = await context.host.connection_table()
    budget = budget_of(context.settings.connection_budget, table)
    before = context.state.over_budget
    if not before and table.entries <= budget:
        return 0.0
    counts, cpu_seconds = await _count(context, table, budget)
    over = {
        sandbox.id: frozenset(sources_of(sandbox))
        for sandbox in context.state.sandboxes
        if exceeds(counts.get(sandbox.id, 0), budget, already=sandbox.id in before)
    }
    if over != before:
        await _enforce(context, over)
        _report(context, before, counts, budget)
    return cpu_seconds


async def _count(context: EngineContext, table: ConnectionTable, budget: int) -> tuple[dict[str, int], float]:
    """Return the entries of containers by id, and the processor time that determines the next pause."""
    if table.entries <= budget // 2:
        return {}, 0.0
    size = sample_size(table, budget)
    sample = await context.host.sample_connections(size)
    read = sum(sample.by_source.values())
    if read < size:
        return estimate(sample.by_source, read, context.state.sandboxes), sample.cpu_seconds
    counts = estimate(sample.by_source, table.entries, context.state.sandboxes)
    return counts, sample.cpu_seconds + await _confirm(context, counts, budget)


async def _confirm(context: EngineContext, counts: dict[str, int], budget: int) -> float:
    """Replace estimates above the budget by exact counts; return the processor time of counts that refuted them.

    Containers that are limited already are not counted.  Expired entries count in the size of the table but are not in
    a sample, which makes estimates too high.
    """
    wasted = 0.0
    for identifier, entries in counts.items():
        sandbox = context.state.sandbox(identifier)
        if sandbox and identifier not in context.state.over_budget and exceeds(entries, budget, already=False):
            exact = await context.host.count_connections(tuple(sources_of(sandbox)), budget + 1)
            counts[identifier] = sum(exact.by_source.values())
            if not exceeds(counts[identifier], budget, already=False):
                wasted += exact.cpu_seconds
    return wasted


async def _enforce(context: EngineContext, over: Mapping[str, frozenset[Address]]) -> None:
    async with context.locks.hold("connection-limits"):
        had = frozenset[Address]().union(*context.state.over_budget.values())
        wanted = frozenset[Address]().union(*over.values())
        context.state.over_budget = over
        change = RulesetChange(removed=Ruleset(over_budget=had - wanted), added=Ruleset(over_budget=wanted - had))
        try:
            await context.host.change_firewall(change)
        except Problem as problem:
            _log.error("connection budgets not enforced: error=%s", problem.message)
            context.repair_needed.set()


def _report(
    context: EngineContext, before: Mapping[str, frozenset[Address]], counts: Mapping[str, int], budget: int
) -> None:
    """Publish an event and write a log line for each container whose limit began or ended."""
    over = context.state.over_budget
    for identifier in over.keys() ^ before.keys():
        sandbox = context.state.sandbox(identifier)
        if sandbox is None:
            continue
        exceeded = identifier in over
        action, level = ("exceeded", logging.WARNING) if exceeded else ("restored", logging.INFO)
        numbers = {"connections": str(counts.get(identifier, 0)), "budget": str(budget)}
        details = {"name": sandbox.name, **numbers}
        context.bus.publish(event("container", f"connection-budget: {action}", identifier, details))
        _log.log(
            level,
            "connection budget %s: container=%s name=%s connections=%s budget=%s new-connections=%s",
            action,
            identifier[:12],
            sandbox.name,
            numbers["connections"],
            budget,
            "dropped" if exceeded else "admitted",
        )
