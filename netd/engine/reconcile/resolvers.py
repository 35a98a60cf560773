"""Serving the names of sandboxes that were restored: the DNS redirect in each, and its sockets in netd-dns."""

from __future__ import annotations

import logging

from netd.common.errors import Problem
from netd.engine.change import apply
from netd.engine.context import EngineContext
from netd.model import Sandbox

_log = logging.getLogger(__name__)


async def restore_all(context: EngineContext) -> None:
    """Make netd-dns serve all sandboxes; those for which it fails are left to the repair loop."""
    context.resolvers_missing.update(sandbox.id for sandbox in context.state.sandboxes)
    if not await retry(context):
        context.repair_needed.set()


async def retry(context: EngineContext) -> bool:
    """Make netd-dns serve the sandboxes for which it failed so far; return whether it succeeded for all.

    It serves them with the sockets that it still holds, or else with new ones.
    """
    if not context.resolvers_missing:
        return True
    sandboxes = [sandbox for sandbox in context.state.sandboxes if sandbox.id in context.resolvers_missing]
    context.resolvers_missing.intersection_update(sandbox.id for sandbox in sandboxes)
    served = [sandbox.id for sandbox in sandboxes if apply.has_names(sandbox)]
    foreign = set(await context.host.foreign_redirects(served))
    host_files = context.host_files.read()
    for sandbox in sandboxes:
        if await _restore(context, sandbox, sandbox.id in foreign):
            context.resolvers_missing.discard(sandbox.id)
        if sandbox.id in context.dns.held:
            context.dns.set_view(sandbox.id, context.dns_view(sandbox, host_files))
    return not context.resolvers_missing


async def _restore(context: EngineContext, sandbox: Sandbox, is_foreign: bool) -> bool:
    """Return False after an error; netd-dns may hold usable sockets nevertheless."""
    try:
        if is_foreign:
            await apply.move_resolver(context.dns, context.host, sandbox)
        await apply.open_resolver(context.dns, context.host, sandbox)
    except Problem as problem:
        label = sandbox.id[:12]
        _log.error("DNS redirect not restored, will be retried: sandbox=%s error=%s", label, problem.message)
        return False
    return True
