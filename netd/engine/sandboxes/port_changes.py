"""Publishing and unpublishing ports of running containers; their other published ports are not affected."""

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
        """Publish further ports; they are reachable on return.

        Raises the Problem that prevents it; nothing is changed then.
        """
        bindings = request.port_bindings or {}
        async with self._context.locks.hold(identifier):
            before = self._find(identifier, "its ports are host ports already, publishing does not apply")
            requests = port_requests(bindings, (), allow.rules(before.labels))
            if not requests:
                raise BadRequest("no port is specified: list the ports in PortBindings")
            with ExitStack() as undo:
                after = with_ports(self._context, before, requests, undo)
                after = replace(after, exposed=exposed(before.exposed, bindings))
                await self._apply_change(before, after)
                undo.pop_all()
        return after

    async def remove(self, identifier: str, request: PortsRequest) -> Sandbox:
        """Unpublish ports and end their connections.  Raises NotFound naming a port that is not published."""
        async with self._context.locks.hold(identifier):
            before = self._find(identifier, "none of its ports is published")
            after, splits = before, list[tuple[Publication, tuple[Publication, ...]]]()
            for part in port_requests(request.port_bindings or {}):
                left = without(after.port_requests, after.publications, part)
                if not left.cut and left.port_requests == after.port_requests:
                    raise NotFound(f"container {before.name} publishes no {_describe(part)}")
                splits += left.cut
                after = replace(after, port_requests=left.port_requests, publications=left.publications)
            after = self._with_current_ports(after, request)
            await self._apply_change(before, after)
            for whole, pieces in splits:
                self._context.ports.exchange(before.id, whole, pieces)
        return after

    async def _apply_change(self, before: Sandbox, after: Sandbox) -> None:
        """Apply the change, and wait until the conntrack entries of unpublished ports are deleted."""
        await apply.apply_change(self._context, before, after)
        await self._context.background.wait_for([before.id])

    def _find(self, identifier: str, reason: str) -> Sandbox:
        if (found := self._context.state.sandbox(identifier)) is None:
            raise NotFound(f"no sandbox for container {identifier}")
        if found.on_host:
            raise BadRequest(f"container {found.name} shares the host's network: {reason}")
        return found

    def _with_current_ports(self, sandbox: Sandbox, request: PortsRequest) -> Sandbox:
        """Update the publications of routed networks; keep the exposed ports that are published or requested."""
        bound = tuple(publication for publication in sandbox.publications if publication.port)
        unbound = routed_ports.publications(self._context.state, self._context.drivers, sandbox)
        ports = sandbox.exposed
        if request.exposed_ports is not None:
            spans = {
                f"{published.target}-{published.target + published.count - 1}/{published.protocol}": None
                for published in sandbox.port_requests
            }
            ports = exposed(request.exposed_ports, spans)
        return replace(sandbox, publications=(*bound, *unbound), exposed=ports)


def _describe(part: PortRequest) -> str:
    last = part.target + part.count - 1
    span = f"port {part.target}" if part.count == 1 else f"ports {part.target}-{last}"
    place = f" at port {part.port} of the host" if part.port else ""
    addresses = ", ".join(str(address) for address in part.addresses if address is not None)
    return f"{span}/{part.protocol}{place}{f' on {addresses}' if addresses else ''}"
