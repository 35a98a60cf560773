"""Connecting running containers to networks, and disconnecting them."""

from __future__ import annotations

from contextlib import ExitStack

from msgspec.structs import replace

from netd.api import ConnectRequest, DisconnectRequest, EndpointSettings
from netd.common.errors import BadRequest, Forbidden, NotFound, ServerError
from netd.engine.change import allocation, bridge_segments, leases, plugin_calls
from netd.engine.context import EngineContext
from netd.engine.sandboxes.actions import add_publications, check_exclusive, join
from netd.engine.state.sandbox_request import canonical_name
from netd.model import Network, Sandbox


class Connections:
    def __init__(self, context: EngineContext) -> None:
        self._context = context

    async def connect(self, network: str, request: ConnectRequest) -> Sandbox:
        """Connect a container to another network.  Raises the Problem that prevents it; nothing is changed then."""
        state = self._context.state
        identifier = state.find_sandbox(request.container).id
        settings = request.endpoint_config or EndpointSettings()
        async with self._context.locks.hold(identifier):
            before = state.find_sandbox(identifier)
            target = state.find_network(canonical_name(network))
            allocation.check_settings(target, settings)
            self._check(before, target)
            await bridge_segments.ensure_room(self._context, [target])
            target = state.find_network(target.id)
            async with leases.lease_addresses(self._context, [(target, settings)]) as leased:
                before, target = state.find_sandbox(identifier), state.find_network(target.id)
                with ExitStack() as undo:
                    endpoint = join(self._context, before, target, settings, undo, leased.get(target.id))
                    after = replace(before, endpoints=(*before.endpoints, endpoint))
                    after = await self._apply_change(before, after, undo)
        return after

    async def disconnect(self, network: str, request: DisconnectRequest) -> Sandbox:
        """Disconnect a container from a network.  Raises ServerError, as Docker does, when it is not connected."""
        state = self._context.state
        identifier = self._find_for_disconnect(network, request).id
        async with self._context.locks.hold(identifier):
            before = state.find_sandbox(identifier)
            target = state.find_network(canonical_name(network))
            if before.on_host:
                raise BadRequest(
                    "cannot disconnect container from host network - container was created in host network mode"
                )
            if (endpoint := before.endpoint_on(target.id)) is None:
                raise ServerError(f"container {before.id} is not connected to network {target.name}")
            after = replace(before, endpoints=tuple(other for other in before.endpoints if other is not endpoint))
            with ExitStack() as undo:
                after = await self._apply_change(before, after, undo)
            allocation.release(state, (endpoint,))
            leases.release_later(self._context, (endpoint,))
        return after

    async def _apply_change(self, before: Sandbox, after: Sandbox, undo: ExitStack) -> Sandbox:
        after = await plugin_calls.apply_change(
            self._context, before, after, add_publications(self._context, before, undo)
        )
        undo.pop_all()
        return after

    def _find_for_disconnect(self, network: str, request: DisconnectRequest) -> Sandbox:
        try:
            return self._context.state.find_sandbox(request.container)
        except NotFound:
            if request.force:
                self._context.state.find_network(canonical_name(network))
                raise NotFound(f"endpoint {request.container} not found") from None
            raise

    def _check(self, sandbox: Sandbox, network: Network) -> None:
        """Raise BadRequest or Forbidden, with Docker's texts, if the container cannot be connected to the network."""
        if sandbox.endpoint_on(network.id) is not None:
            raise Forbidden(f"endpoint with name {sandbox.name} already exists in network {network.name}")
        traits = self._context.driver(network).traits
        if traits.on_host:
            raise BadRequest(
                "cannot connect container to host network - container must be created in host network mode"
            )
        if sandbox.on_host:
            raise BadRequest(
                "container sharing network namespace with another container or host cannot be connected to any other"
                " network"
            )
        connected = [other for _, other in self._context.state.networks_of(sandbox)]
        check_exclusive(self._context.drivers, [*connected, network])
