"""Publishing more, or less, of a running container; what else it has published never notices."""

from __future__ import annotations

from contextlib import ExitStack

from msgspec.structs import replace

from netd.api import PortsRequest
from netd.common import allow
from netd.common.errors import BadRequest, NotFound
from netd.engine.change import apply
from netd.engine.context import EngineContext
from netd.engine.sandboxes.publishing import with_ports
from netd.engine.state import routed_ports
from netd.model import PortRequest, Publication, Sandbox
from netd.portmap.requests import exposed, port_requests
from netd.portmap.unpublish import without


class PortChanges:
    def __init__(self, context: EngineContext) -> None:
        self._context = context

    async def add(self, identifier: str, request: PortsRequest) -> Sandbox:
        """Publish what is asked for besides what is there.  Raises the Problem that prevents it; nothing is changed.

        Returns when clients get there.
        """
        bindings = request.port_bindings or {}
        async with self._context.locks.hold(identifier):
            before = self._find(identifier, "there is nothing to publish: its ports are the host's own already")
            asked = port_requests(bindings, (), allow.rules(before.labels))
            if not asked:
                raise BadRequest("no port is named: say which in PortBindings")
            with ExitStack() as undo:
                after = with_ports(self._context, before, asked, undo)
                after = replace(after, exposed=exposed(before.exposed, bindings))
                await self._carry_out(before, after)
                undo.pop_all()
        return after

    async def remove(self, identifier: str, request: PortsRequest) -> Sandbox:
        """Publish what is asked for no more; its connections end.  Raises NotFound naming what is not published."""
        async with self._context.locks.hold(identifier):
            before = self._find(identifier, "none of its ports is published")
            after, cuts = before, list[tuple[Publication, tuple[Publication, ...]]]()
            for part in port_requests(request.port_bindings or {}):
                left = without(after.port_requests, after.publications, part)
                if not left.cut and left.port_requests == after.port_requests:
                    raise NotFound(f"container {before.name} publishes no {_described(part)}")
                cuts += left.cut
                after = replace(after, port_requests=left.port_requests, publications=left.publications)
            after = self._shown_as_now(after, request)
            await self._carry_out(before, after)
            for whole, pieces in cuts:
                self._context.ports.exchange(before.id, whole, pieces)
        return after

    async def _carry_out(self, before: Sandbox, after: Sandbox) -> None:
        """Return when flows that were on their way follow as well: an unpublished port does not answer any more."""
        await apply.apply_change(self._context, before, after)
        await self._context.background.wait_for([before.id])

    def _find(self, identifier: str, reason: str) -> Sandbox:
        if (found := self._context.state.sandbox(identifier)) is None:
            raise NotFound(f"no sandbox for container {identifier}")
        if found.on_host:
            raise BadRequest(f"container {found.name} shares the host's network: {reason}")
        return found

    def _shown_as_now(self, sandbox: Sandbox, request: PortsRequest) -> Sandbox:
        """Show no ports any more that were so only because they were published."""
        bound = tuple(one for one in sandbox.publications if one.port)
        unbound = routed_ports.publications(self._context.state, self._context.drivers, sandbox)
        ports = sandbox.exposed
        if request.exposed_ports is not None:
            spans = {f"{one.target}-{one.target + one.count - 1}/{one.protocol}": None for one in sandbox.port_requests}
            ports = exposed(request.exposed_ports, spans)
        return replace(sandbox, publications=(*bound, *unbound), exposed=ports)


def _described(part: PortRequest) -> str:
    last = part.target + part.count - 1
    span = f"port {part.target}" if part.count == 1 else f"ports {part.target}-{last}"
    place = f" at port {part.port} of the host" if part.port else ""
    named = ", ".join(str(one) for one in part.addresses if one is not None)
    return f"{span}/{part.protocol}{place}{f' on {named}' if named else ''}"
