"""Creating, renaming and deleting sandboxes; a creation that fails leaves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial

from msgspec.structs import replace

from netd.api import EndpointSettings, SandboxRequest, SandboxView
from netd.common.addresses import FAMILIES
from netd.common.errors import BadRequest, Conflict, NotFound
from netd.container_files import HostFiles
from netd.drivers.registry import Drivers
from netd.engine.change import allocation, apply, bridge_segments, leases, plugin_calls
from netd.engine.change.rollback import rollback
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

    async def create(self, request: SandboxRequest) -> SandboxView:
        """Create all the networking of a container.  Raises the Problem that prevents it; nothing is left then."""
        draft = sandbox_request.read(request)
        async with self._context.locks.hold(draft.id):
            if (existing := self._context.state.sandbox_by_short_id(draft.id)) is not None:
                raise Conflict(f"sandbox {existing.id} of container {existing.name} exists already; delete it first")
            endpoint_settings = sandbox_request.networks(request)
            await bridge_segments.ensure_room(
                self._context, [network for network, _ in self._networks(endpoint_settings)]
            )
            async with (
                leases.lease_addresses(self._context, self._networks(endpoint_settings)) as leased,
                self._adopted_namespace(draft.id, request.netns, self._networks(endpoint_settings)),
            ):
                with ExitStack() as undo:
                    sandbox = self._allocate(draft, endpoint_settings, leased, undo)
                    sandbox = await plugin_calls.apply_change(
                        self._context, None, sandbox, add_publications(self._context, None, undo)
                    )
                    undo.pop_all()
        return self.view(sandbox)

    def check(self, request: SandboxRequest) -> None:
        """Raise the Problem with which ``create`` would refuse the request now and later, and change nothing.

        Networks that do not exist, addresses and ports that are in use, and plugins that are not running are accepted:
        they may be there, or free, when the sandbox is created.
        """
        sandbox_request.read(request)
        networks = sandbox_request.networks(request)
        known = [
            (network, settings)
            for term, settings in networks.items()
            if (network := self._context.state.lookup_network(term)) is not None
        ]
        _check_combination(self._context.drivers, [network for network, _ in known], networks)
        for network, settings in known:
            templates.check_joinable(network)
            allocation.check_settings(network, settings)
            driver = self._context.driver(network)
            allocation.check_gateway_mac(network, driver, settings)
            if driver.traits.addressed:
                allocation.check_static(self._context.state, network, settings)

    @asynccontextmanager
    async def _adopted_namespace(
        self, identifier: str, path: str, networks: Iterable[tuple[Network, EndpointSettings]]
    ) -> AsyncIterator[None]:
        """Use the namespace at *path*, if any, for a new sandbox; unmount it when the creation fails."""
        if not path:
            yield
            return
        if self._is_on_host(networks) or not path.startswith("/"):
            raise BadRequest(
                f"the network namespace {path} cannot be used: write an absolute path, and not with network host"
            )
        await self._context.host.adopt_namespace(identifier, path)
        unmount = partial(self._context.host.apply, [Step(Verb.DEL, Namespace(sandbox=identifier))])
        async with rollback(self._context.repair_needed, f"sandbox={identifier[:12]}", unmount):
            yield

    def _is_on_host(self, networks: Iterable[tuple[Network, EndpointSettings]]) -> bool:
        return any(self._context.driver(network).traits.on_host for network, _ in networks)

    async def rename(self, identifier: str, name: str) -> SandboxView:
        """Rename a container in its record, DNS names and alternative link names.  Raises NotFound."""
        sandbox_request.check_name(name)
        async with self._context.locks.hold(identifier):
            before = self.find(identifier)
            after = replace(before, name=name)
            await apply.apply_change(self._context, before, after)
        return self.view(after)

    async def delete(self, identifier: str) -> None:
        """Delete a sandbox; no error if it does not exist."""
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
        host = self._context.host_files.read()
        return [self.view(sandbox, host) for sandbox in self._context.state.sandboxes]

    def view(self, sandbox: Sandbox, host: HostFiles | None = None) -> SandboxView:
        """Return the namespace, the files and the settings of a sandbox for the runtime.

        *host* are the host's files if they were read just now.
        """
        context, host = self._context, host or self._context.host_files.read()
        key = context.host.namespace_path(sandbox.id)
        return SandboxView(
            id=sandbox.id,
            name=sandbox.name,
            netns=None if sandbox.on_host else str(key),
            resolv_conf=files.resolv_conf(sandbox, host, context.name_servers.servers),
            hosts=files.hosts(sandbox, host, self._default_gateways()),
            network_settings=network_settings.settings(context.state, sandbox, key),
        )

    def _default_gateways(self) -> tuple[str, ...]:
        """Return the default bridge's gateways, at most one per family, for ``host-gateway``."""
        bridge = self._context.state.network_by_name("bridge")
        pools = [bridge.pool(family) for family in FAMILIES] if bridge else []
        return tuple(str(pool.gateway) for pool in pools if pool is not None and pool.gateway is not None)

    def _allocate(
        self,
        draft: Sandbox,
        endpoint_settings: Mapping[str, EndpointSettings],
        leased: Mapping[str, EndpointSettings],
        undo: ExitStack,
    ) -> Sandbox:
        """Allocate the sandbox's endpoints.  The caller must not await before it begins the change."""
        networks = self._networks(endpoint_settings)
        on_host = self._is_on_host(networks)
        if on_host and draft.hostname == sandbox_request.default_hostname(draft.id):
            draft = replace(draft, hostname=self._context.host.hostname())
        sandbox = replace(draft, on_host=on_host)
        for network, settings in networks:
            endpoint = join(self._context, sandbox, network, settings, undo, leased.get(network.id))
            sandbox = replace(sandbox, endpoints=(*sandbox.endpoints, endpoint))
        return sandbox

    def _networks(self, endpoint_settings: Mapping[str, EndpointSettings]) -> list[tuple[Network, EndpointSettings]]:
        """Return the networks with their settings.  Raises NotFound, or BadRequest for an impossible combination."""
        found = [(self._context.state.find_network(term), settings) for term, settings in endpoint_settings.items()]
        _check_combination(self._context.drivers, [network for network, _ in found], endpoint_settings)
        return found


def _check_combination(drivers: Drivers, networks: Sequence[Network], terms: Iterable[str]) -> None:
    """Raise BadRequest for networks, requested as *terms*, that no container can join together."""
    check_exclusive(drivers, networks)
    if len({network.id for network in networks}) < len(networks):
        raise BadRequest(f"container cannot join a network twice: {', '.join(terms)}")


def check_exclusive(drivers: Drivers, networks: Sequence[Network]) -> None:
    """Raise BadRequest, with Docker's text, if a network without addresses (host, none) is combined with others."""
    exclusive = [network for network in networks if not drivers.get(network.driver).traits.addressed]
    if exclusive and len(networks) > 1:
        mode = "host" if exclusive[0].name == "host" else "private (none)"
        raise BadRequest(f"container cannot be connected to multiple networks with one of the networks in {mode} mode")


def join(
    context: EngineContext,
    sandbox: Sandbox,
    network: Network,
    settings: EndpointSettings,
    undo: ExitStack,
    leased: EndpointSettings | None = None,
) -> Endpoint:
    """Allocate an endpoint of the sandbox on the network; the release of its addresses is added to *undo*.

    *leased* are the settings with the addresses that an IPAM driver assigned.
    """
    templates.check_joinable(network)
    plugin_calls.check_not_pending(context.pending_networks, network)
    driver = context.driver(network)
    if driver.traits.absent:
        raise NotFound(f'plugin "{network.driver}" not found: install the driver of network {network.name} again')
    endpoint = allocation.allocate_endpoint(context.state, sandbox, network, driver, leased or settings)
    if leased is not None:
        kept = replace(endpoint.settings, ipam_config=settings.ipam_config, mac_address=settings.mac_address)
        endpoint = replace(endpoint, settings=kept)
    undo.callback(allocation.release, context.state, (endpoint,))
    return endpoint


def add_publications(context: EngineContext, before: Sandbox | None, undo: ExitStack) -> Callable[[Sandbox], Sandbox]:
    """Return a function that adds the publications to a sandbox; see ``publications``."""
    return lambda after: replace(after, publications=publications(context, before, after, undo))


def release(context: EngineContext, sandbox: Sandbox) -> None:
    """Release a deleted sandbox's addresses and host ports."""
    allocation.release(context.state, sandbox.endpoints)
    leases.release_later(context, sandbox.endpoints)
    context.ports.release(sandbox.publications)
