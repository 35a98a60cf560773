"""Creating, deleting and pruning networks.

Serialized by one lock, because the choice of a subnet depends on all networks.  A network is added to the state before
its bridge exists; kernel changes of endpoints on it are queued after the creation of the bridge.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from netd.api import PREDEFINED_NETWORKS
from netd.common.errors import BadRequest, Conflict, Forbidden, Problem, no_driver
from netd.common.events import event
from netd.common.filters import Filters
from netd.common.ids import new_id, now, short
from netd.drivers import Driver, options
from netd.drivers.remote import RemoteDriver
from netd.engine import doctor
from netd.engine.change import leases, network_setup, plugin_calls
from netd.engine.context import EngineContext
from netd.engine.networks import route_conflicts, templates
from netd.engine.networks.network_filters import prunable
from netd.engine.networks.reservations import delete_reservations_on
from netd.engine.networks.subnets import Subnets
from netd.facts import Bridge
from netd.model import Network, NetworkSpec, Pool
from netd.remote.caller import PluginNotFound

_log = logging.getLogger(__name__)
_MAX_NAME_LENGTH = 4096
"""Docker has no limit but that of a request."""
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control, format and surrogate characters, and of separators of lines and paragraphs."""
_LOCK = "networks"
"""The key of the lock."""


class Networks:
    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._subnets = Subnets(context)
        self._pruning = False

    async def create(self, requested: NetworkSpec) -> Network:
        """Create a network, synced to disk on return.  Raises the Problem that prevents it; nothing is left then."""
        check_name(requested.name)
        self._check_unused(requested.name)
        if requested.config_only:
            requested = replace(requested, driver=templates.DRIVER)
        else:
            requested = await self._validated(requested)
        async with self._context.locks.hold(_LOCK):
            self._check_unused(requested.name)
            async with leases.request_pools(
                self._context, requested, self._context.drivers.get(requested.driver).has_gateway
            ) as pools:
                network = await self.new_record(requested, pools)
                if network.remote:
                    network_setup.register(self._context, network)
                    self._context.pending_networks.add(network.id)
                else:
                    await network_setup.create(self._context, network)
        if network.remote:
            await self._create_remote(network)
        self._context.publish_event(network, "create")
        return network

    async def warning(self, network: Network, spec: NetworkSpec) -> str:
        """Return a sentence for each option without effect and each route of the host that overlaps a given subnet."""
        sentences = options.without_effect(network.driver, network.options)
        if spec.pools:
            found = await route_conflicts.of_network(self._context, network)
            sentences += [route_conflicts.describe(network, conflict) for conflict in found]
        if self._context.desired_state.rules(network) is not None:
            sentences += await doctor.dropped(self._context)
        return "; ".join(sentences)

    async def _create_remote(self, network: Network) -> None:
        try:
            await plugin_calls.create_network(self._context, network)
        except BaseException:
            await leases.release_pools(self._context.ipam, self._context.plugins, network)
            raise

    def _check_unused(self, name: str) -> None:
        if self._context.state.network_by_name(name) is not None:
            raise Conflict(f"network with name {name} already exists")

    async def _validated(self, requested: NetworkSpec) -> NetworkSpec:
        """Return the request completed by its template and validated by the driver."""
        driver = await self._driver(requested)
        if driver.traits.single:
            raise Forbidden(f'only one instance of "{requested.driver}" network is allowed')
        requested = templates.applied(self._context.state, requested)
        driver.validate(requested)
        return await self._without_gateway(requested, driver)

    async def new_record(self, requested: NetworkSpec, pools: tuple[Pool, ...] | None = None) -> Network:
        """Return the record for a request; without *pools* of an IPAM driver, netd's own IPAM allocates them.

        Raises Forbidden, BadRequest.
        """
        driver = self._context.drivers.get(requested.driver)
        if driver.traits.addressed and not (requested.ipv4 or requested.ipv6):
            raise BadRequest("IPv4 or IPv6 must be enabled")
        if pools is None:
            pools = await self._subnets.pools(requested) if driver.traits.addressed else ()
        network = Network(
            id=new_id(),
            name=requested.name,
            created=now(),
            driver=requested.driver,
            remote=isinstance(driver, RemoteDriver),
            ipv4=requested.ipv4,
            ipv6=requested.ipv6,
            mtu=await self._mtu(driver, requested),
            pools=pools,
            ipam_driver=requested.ipam_driver,
            ipam_options=requested.ipam_options,
            internal=requested.internal,
            attachable=requested.attachable,
            options=requested.options,
            labels=requested.labels,
            template=requested if requested.config_only else None,
            config_from=requested.config_from,
        )
        device = driver.device(network)
        self._check_device_unused(network, device)
        return replace(network, adopted=await self._is_foreign(network, device))

    async def remove(self, term: str) -> None:
        """Delete a network without endpoints; its links are down and renamed.  Raises NotFound, Forbidden."""
        await self._remove(term)
        await self._context.host.begin_reaping()

    async def _remove(self, term: str) -> None:
        async with self._context.locks.hold(_LOCK):
            network = self._context.state.find_network(term)
            if network.predefined:
                raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
            templates.check_unused(self._context.state, network)
            plugin_calls.check_not_pending(self._context.pending_networks, network)
            if self._context.state.members(network.id) or self._context.pending_endpoints[network.id]:
                raise Forbidden(
                    f"error while removing network: network {network.name} has active endpoints"
                    f" ({self._endpoints(network)}); disconnect or stop these containers first"
                )
            if network.remote:
                self._context.pending_networks.add(network.id)
            else:
                await network_setup.delete(self._context, network)
        if network.remote:
            await plugin_calls.delete_network(self._context, network)
        await self._delete_addresses(network)
        await leases.release_pools(self._context.ipam, self._context.plugins, network)
        if network.template is None:
            self._context.publish_event(network, "destroy")

    async def _delete_addresses(self, network: Network) -> None:
        """Delete the address history and the reservations of a deleted network."""
        state = self._context.state
        changes = [*state.address_history.delete_network(network.id), *delete_reservations_on(state, network.id)]
        if changes:
            await self._context.store.write(*changes, durable=False)

    async def prune(self, filters: Filters, deleted: Callable[[str], Awaitable[None]]) -> list[str]:
        """Delete all unused networks and return their names.  Raises Conflict while another prune runs.

        *deleted* is called with each name.
        """
        if self._pruning:
            raise Conflict("a prune operation is already running")
        self._pruning = True
        removed = []
        try:
            for network in prunable(self._context.state, filters):
                try:
                    await self._remove(network.id)
                    removed.append(network.name)
                    await deleted(network.name)
                except Problem as problem:
                    _log.info("network not pruned: network=%s error=%s", network.name, problem.message)
        finally:
            self._pruning = False
        await self._context.host.reap()
        self._context.bus.publish(event("network", "prune", "", {"reclaimed": "0"}))
        return removed

    async def _driver(self, requested: NetworkSpec) -> Driver:
        """Return the driver; if no package provides it, look for a plugin.  Raises NotFound, Forbidden."""
        context = self._context
        if not context.drivers.has(requested.driver):
            try:
                await context.plugins.networks(requested.driver).check()
            except PluginNotFound:
                raise no_driver(requested.driver, filter(context.drivers.has, context.drivers.names)) from None
            context.drivers.add(requested.driver, RemoteDriver())
        return context.drivers.get(requested.driver)

    async def _without_gateway(self, requested: NetworkSpec, driver: Driver) -> NetworkSpec:
        if not isinstance(driver, RemoteDriver):
            return requested
        families = await self._context.plugins.networks(requested.driver).without_gateway(requested)
        return replace(requested, without_gateway=families)

    async def _mtu(self, driver: Driver, requested: NetworkSpec) -> int:
        """Return the MTU of the parent link, else of the default routes.  Raises BadRequest for a missing parent."""
        if not driver.traits.addressed:
            return 0
        parent = requested.options.get(driver.traits.parent, "")
        found = await self._context.host.mtu(parent)
        if parent and not found:
            raise BadRequest(f"invalid option {driver.traits.parent}: the host has no link {parent}; see ip link")
        return found

    async def _is_foreign(self, network: Network, device: str | None) -> bool:
        """Return whether the link exists and was not created by netd.  A name with the network's new id is unused."""
        if device is None or device.endswith(short(network.id)):
            return False
        if not await self._context.host.has_link(device):
            return False
        found = (await self._context.host.observe()).get(("bridge", device))
        return not (isinstance(found, Bridge) and found.owned)

    def _check_device_unused(self, network: Network, device: str | None) -> None:
        # A name with the network's new id is unused.
        chosen = device is not None and not device.endswith(short(network.id))
        for other in self._context.state.networks if chosen else ():
            if self._context.driver(other).device(other) == device:
                raise Forbidden(
                    f"cannot create network {network.name}: conflicts with network {other.name}: networks have same"
                    f" bridge name {device}"
                )

    def _endpoints(self, network: Network) -> str:
        members = self._context.state.members(network.id)
        endpoints = ((self._context.state.sandbox(sandbox), endpoint) for sandbox, endpoint in members.items())
        return ", ".join(f'name:"{owner.name}" id:"{short(endpoint.id)}"' for owner, endpoint in endpoints if owner)


def check_name(name: str) -> None:
    """Raise Forbidden for the names of predefined networks, BadRequest for names that cannot be shown.

    Docker accepts every name that is not blank.
    """
    check_not_predefined(name)
    if not name.strip():
        raise BadRequest("invalid name: name is empty")
    if len(name) > _MAX_NAME_LENGTH:
        raise BadRequest(f"invalid network name: it is longer than {_MAX_NAME_LENGTH} characters")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in name):
        raise BadRequest(
            f"invalid network name {name!r}: control characters and line breaks, which would alter the output of"
            " clients, are not allowed"
        )


def check_not_predefined(name: str) -> None:
    """Raise Forbidden for the names of predefined networks."""
    if name in (*PREDEFINED_NETWORKS, "default"):
        raise Forbidden(f"operation is not permitted on predefined {name} network ")
