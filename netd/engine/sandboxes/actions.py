"""Sandboxes as a runtime asks for them: made whole or not at all, renamed, taken away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager

from msgspec.structs import replace

from netd.api import EndpointSettings, SandboxRequest, SandboxView
from netd.common.addresses import FAMILIES
from netd.common.errors import BadRequest, Conflict, NotFound
from netd.engine.change import allocation, apply, bridge_segments, leases, plugin_calls
from netd.engine.context import EngineContext
from netd.engine.networks import templates
from netd.engine.sandboxes.publishing import publications
from netd.engine.state import sandbox_request
from netd.engine.views import files, network_settings
from netd.facts import Namespace, Step, Verb
from netd.model import Endpoint, Network, Sandbox


class Sandboxes:
    def __init__(self, context: EngineContext) -> None:
        self._context = context

    async def attach(self, request: SandboxRequest) -> SandboxView:
        """Make all the networking of a container.  Raises the Problem that prevents it; nothing is left then."""
        draft = sandbox_request.read(request)
        async with self._context.locks.hold(draft.id):
            if (there := self._context.state.sandbox_by_short_id(draft.id)) is not None:
                raise Conflict(f"sandbox {there.id} of container {there.name} is there already; delete it first")
            port_requests = sandbox_request.networks(request)
            await bridge_segments.ensure_room(self._context, [network for network, _ in self._places(port_requests)])
            async with leases.lease_addresses(self._context, self._places(port_requests)) as leased:
                with ExitStack() as undo:
                    sandbox = self._decide(draft, port_requests, leased, undo)
                    async with self._taken(sandbox, request.netns):
                        sandbox = await plugin_calls.apply_change(
                            self._context, None, sandbox, published(self._context, None, undo)
                        )
                    undo.pop_all()
        return self.view(sandbox)

    @asynccontextmanager
    async def _taken(self, sandbox: Sandbox, path: str) -> AsyncIterator[None]:
        """Use the namespace at *path*, if any, for a new sandbox; let go of it when the sandbox fails."""
        if not path:
            yield
            return
        if sandbox.on_host or not path.startswith("/"):
            raise BadRequest(f"the network namespace {path} cannot be used: give an absolute path, and not for host")
        await self._context.host.adopt_namespace(sandbox.id, path)
        try:
            yield
        except BaseException:
            await self._context.host.apply([Step(Verb.DEL, Namespace(sandbox=sandbox.id))])
            raise

    async def rename(self, identifier: str, name: str) -> SandboxView:
        """Change a container's name wherever it is seen.  Raises NotFound."""
        sandbox_request.check_name(name)
        async with self._context.locks.hold(identifier):
            before = self.find(identifier)
            after = replace(before, name=name)
            await apply.apply_change(self._context, before, after)
        return self.view(after)

    async def detach(self, identifier: str) -> None:
        """Take a sandbox away; one that is not there is no error."""
        async with self._context.locks.hold(identifier):
            sandbox = self._context.state.sandbox(identifier)
            if sandbox is not None and await plugin_calls.delete_sandbox(self._context, sandbox):
                release(self._context, sandbox)

    def find(self, identifier: str) -> Sandbox:
        """Return the sandbox with this id.  Raises NotFound."""
        if (found := self._context.state.sandbox(identifier)) is None:
            raise NotFound(f"no sandbox for container {identifier}")
        return found

    def all(self) -> list[SandboxView]:
        return [self.view(sandbox) for sandbox in self._context.state.sandboxes]

    def view(self, sandbox: Sandbox) -> SandboxView:
        """Return what a runtime needs to know of a sandbox."""
        context, host = self._context, self._context.host_files.read()
        key = context.host.namespace_path(sandbox.id)
        return SandboxView(
            id=sandbox.id,
            name=sandbox.name,
            netns=None if sandbox.on_host else str(key),
            resolv_conf=files.resolv_conf(sandbox, host, context.settings.dns),
            hosts=files.hosts(sandbox, host, self._default_gateways()),
            network_settings=network_settings.settings(context.state, sandbox, key),
        )

    def _default_gateways(self) -> tuple[str, ...]:
        """Return the addresses, one of a family, at which containers find the host."""
        bridge = self._context.state.network_by_name("bridge")
        pools = [bridge.pool(family) for family in FAMILIES] if bridge else []
        return tuple(str(pool.gateway) for pool in pools if pool is not None and pool.gateway is not None)

    def _decide(
        self,
        draft: Sandbox,
        port_requests: Mapping[str, EndpointSettings],
        leased: Mapping[str, EndpointSettings],
        undo: ExitStack,
    ) -> Sandbox:
        """Choose all that the sandbox gets.  Nothing may run between this and the beginning of the change."""
        places = self._places(port_requests)
        on_host = any(self._context.driver(network).traits.on_host for network, _ in places)
        if on_host and draft.hostname == sandbox_request.default_hostname(draft.id):
            draft = replace(draft, hostname=self._context.host.hostname())
        sandbox = replace(draft, on_host=on_host)
        for network, settings in places:
            endpoint = join(self._context, sandbox, network, settings, undo, leased.get(network.id))
            sandbox = replace(sandbox, endpoints=(*sandbox.endpoints, endpoint))
        return sandbox

    def _places(self, port_requests: Mapping[str, EndpointSettings]) -> list[tuple[Network, EndpointSettings]]:
        found = [(self._context.state.find_network(term), settings) for term, settings in port_requests.items()]
        networks = [network for network, _ in found]
        alone = [network for network in networks if not self._context.driver(network).traits.addressed]
        if alone and len(networks) > 1:
            raise BadRequest(
                "container cannot be connected to multiple networks with one of the networks in"
                f" {'host' if alone[0].name == 'host' else 'private (none)'} mode"
            )
        if len({network.id for network in networks}) < len(networks):
            raise BadRequest(f"container is to join a network twice: {', '.join(port_requests)}")
        return found


def join(
    context: EngineContext,
    sandbox: Sandbox,
    network: Network,
    settings: EndpointSettings,
    undo: ExitStack,
    leased: EndpointSettings | None = None,
) -> Endpoint:
    """Choose what the sandbox gets on the network; *undo* is given what gives it back.

    *leased* are the settings with the addresses that another IPAM driver chose.
    """
    templates.check_joinable(network)
    plugin_calls.check_ready(context, network)
    driver = context.driver(network)
    if driver.traits.absent:
        raise NotFound(f'plugin "{network.driver}" not found: install the driver of network {network.name} again')
    endpoint = allocation.allocate_endpoint(context.state, sandbox, network, driver, leased or settings)
    if leased is not None:
        kept = replace(endpoint.settings, ipam_config=settings.ipam_config, mac_address=settings.mac_address)
        endpoint = replace(endpoint, settings=kept)
    undo.callback(allocation.release, context.state, (endpoint,))
    return endpoint


def published(context: EngineContext, before: Sandbox | None, undo: ExitStack) -> Callable[[Sandbox], Sandbox]:
    """Return what adds to a sandbox what it publishes, as ``publications`` does."""
    return lambda after: replace(after, publications=publications(context, before, after, undo))


def release(context: EngineContext, sandbox: Sandbox) -> None:
    """Return a sandbox's addresses and ports, when nothing leads to it any more."""
    allocation.release(context.state, sandbox.endpoints)
    leases.release_later(context, sandbox.endpoints)
    context.ports.release(sandbox.publications)
