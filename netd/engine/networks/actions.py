"""Making and removing networks.

One at a time: which subnet is free depends on all of them.  A network counts from the moment it is decided, and what
the kernel does for others queues up behind what it does for it.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from netd.common.errors import BadRequest, Conflict, Forbidden, Problem
from netd.common.events import event
from netd.common.filters import Filters
from netd.common.ids import NAME, NAME_RULE, new_id, now, short
from netd.drivers import Driver
from netd.drivers.remote import RemoteDriver
from netd.engine.change import leases, network_setup, plugin_calls
from netd.engine.context import EngineContext
from netd.engine.networks import route_conflicts, templates
from netd.engine.networks.network_filters import prunable
from netd.engine.networks.reservations import delete_reservations_on
from netd.engine.networks.subnets import Subnets
from netd.facts import Bridge
from netd.model import PREDEFINED, Network, NetworkSpec, Pool

_log = logging.getLogger(__name__)
_LONGEST_NAME = 64
_TURN = "networks"


class Networks:
    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._subnets = Subnets(context)
        self._pruning = False

    async def create(self, asked: NetworkSpec) -> Network:
        """Make a network, on disk when this returns.  Raises the Problem that prevents it; nothing is left then."""
        check_name(asked.name)
        self._check_unused(asked.name)
        if asked.config_only:
            asked = replace(asked, driver=templates.DRIVER)
        else:
            asked = await self._checked(asked)
        async with self._context.locks.hold(_TURN):
            self._check_unused(asked.name)
            async with leases.request_pools(
                self._context, asked, self._context.drivers.get(asked.driver).has_gateway
            ) as given:
                network = await self.decide(asked, given)
                if network.remote:
                    network_setup.register(self._context, network)
                    plugin_calls.mark_pending(self._context, network)
                else:
                    await network_setup.create(self._context, network)
        if network.remote:
            await self._make_remote(network)
        self._context.publish_event(network, "create")
        return network

    async def warning(self, network: Network) -> str:
        """Return what the host's routes make questionable about a network; "" for nothing."""
        found = await route_conflicts.of_network(self._context, network)
        return "; ".join(route_conflicts.describe(self._context, one) for one in found)

    async def _make_remote(self, network: Network) -> None:
        try:
            await plugin_calls.create_network(self._context, network)
        except BaseException:
            await leases.release_pools(self._context, network)
            raise

    def _check_unused(self, name: str) -> None:
        if self._context.state.network_by_name(name) is not None:
            raise Conflict(f"network with name {name} already exists")

    async def _checked(self, asked: NetworkSpec) -> NetworkSpec:
        """Return what is asked for, with what a template and the driver say of it."""
        driver = await self._driver(asked)
        if driver.traits.single:
            raise Forbidden(f'only one instance of "{asked.driver}" network is allowed')
        asked = templates.applied(self._context.state, asked)
        driver.validate(asked)
        return await self._without_gateway(asked, driver)

    async def decide(self, asked: NetworkSpec, given: tuple[Pool, ...] | None = None) -> Network:
        """Return the network that *asked* comes to, with subnets that are free where none are *given*.

        Raises Forbidden, BadRequest.
        """
        driver = self._context.drivers.get(asked.driver)
        if driver.traits.addressed and not (asked.ipv4 or asked.ipv6):
            raise BadRequest("IPv4 or IPv6 must be enabled")
        if given is None:
            given = await self._subnets.pools(asked) if driver.traits.addressed else ()
        network = Network(
            id=new_id(),
            name=asked.name,
            created=now(),
            driver=asked.driver,
            remote=isinstance(driver, RemoteDriver),
            ipv4=asked.ipv4,
            ipv6=asked.ipv6,
            mtu=await self._mtu(driver, asked),
            pools=given,
            ipam_driver=asked.ipam_driver,
            ipam_options=asked.ipam_options,
            internal=asked.internal,
            attachable=asked.attachable,
            options=asked.options,
            labels=asked.labels,
            template=asked if asked.config_only else None,
            config_from=asked.config_from,
        )
        device = driver.device(network)
        self._check_device(network, device)
        return replace(network, adopted=await self._is_foreign(device))

    async def remove(self, term: str) -> None:
        """Remove a network that nobody is on; no link of it exists afterwards.  Raises NotFound, Forbidden."""
        await self._remove(term)
        await self._context.host.reap()

    async def _remove(self, term: str) -> None:
        async with self._context.locks.hold(_TURN):
            network = self._context.state.find_network(term)
            if network.predefined:
                raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
            templates.check_unused(self._context.state, network)
            plugin_calls.check_ready(self._context, network)
            if self._context.state.members(network.id) or self._context.pending_endpoints[network.id]:
                raise Forbidden(
                    f"error while removing network: network {network.name} has active endpoints"
                    f" ({self._endpoints(network)}); disconnect or stop these containers first"
                )
            if network.remote:
                plugin_calls.mark_pending(self._context, network)
            else:
                await network_setup.delete(self._context, network)
        if network.remote:
            await plugin_calls.delete_network(self._context, network)
        await self._forget_addresses(network)
        await leases.release_pools(self._context, network)
        if network.template is None:
            self._context.publish_event(network, "destroy")

    async def _forget_addresses(self, network: Network) -> None:
        """Nothing on a network that is gone is kept for anybody."""
        state = self._context.state
        changes = [*state.address_history.delete_network(network.id), *delete_reservations_on(state, network.id)]
        if changes:
            await self._context.store.write(*changes, durable=False)

    async def prune(self, filters: Filters) -> list[str]:
        """Remove all networks that nobody is on and return their names.  Raises Conflict while that goes on already."""
        if self._pruning:
            raise Conflict("a prune operation is already running")
        self._pruning = True
        removed = []
        try:
            for network in prunable(self._context.state, filters):
                try:
                    await self._remove(network.id)
                    removed.append(network.name)
                except Problem as problem:
                    _log.info("network=%s pruned=false reason=%s", network.name, problem.message)
        finally:
            self._pruning = False
        await self._context.host.reap()
        self._context.bus.publish(event("network", "prune", "", {"reclaimed": "0"}))
        return removed

    async def _driver(self, asked: NetworkSpec) -> Driver:
        """Return the driver; one that nobody installed is looked for among the plugins.  Raises NotFound, Forbidden."""
        context = self._context
        if not context.drivers.has(asked.driver):
            await context.plugins.networks(asked.driver).check()
            context.drivers.add(asked.driver, RemoteDriver())
        return context.drivers.get(asked.driver)

    async def _without_gateway(self, asked: NetworkSpec, driver: Driver) -> NetworkSpec:
        if not isinstance(driver, RemoteDriver):
            return asked
        skipped = await self._context.plugins.networks(asked.driver).without_gateway(asked)
        return replace(asked, without_gateway=skipped)

    async def _mtu(self, driver: Driver, asked: NetworkSpec) -> int:
        """Return what the network's ways out can carry.  Raises BadRequest where its parent is not there."""
        if not driver.traits.addressed:
            return 0
        parent = asked.options.get(driver.traits.parent, "")
        found = await self._context.host.mtu(parent)
        if parent and not found:
            raise BadRequest(f"invalid option {driver.traits.parent}: the host has no link {parent}; see ip link")
        return found

    async def _is_foreign(self, device: str | None) -> bool:
        """Tell whether somebody else has made this link."""
        if device is None or not await self._context.host.has_link(device):
            return False
        found = (await self._context.host.observe()).get(("bridge", device))
        return not (isinstance(found, Bridge) and found.owned)

    def _check_device(self, network: Network, device: str | None) -> None:
        for other in self._context.state.networks if device else ():
            if self._context.driver(other).device(other) == device:
                raise Forbidden(
                    f"cannot create network {network.name}: conflicts with network {other.name}: networks have same"
                    f" bridge name {device}"
                )

    def _endpoints(self, network: Network) -> str:
        members = self._context.state.members(network.id)
        named = ((self._context.state.sandbox(sandbox), endpoint) for sandbox, endpoint in members.items())
        return ", ".join(f'name:"{owner.name}" id:"{short(endpoint.id)}"' for owner, endpoint in named if owner)


def check_name(name: str) -> None:
    """Raise Forbidden for the names of netd's own networks, BadRequest for what is no name."""
    check_not_predefined(name)
    if not name.strip():
        raise BadRequest("invalid name: name is empty")
    if not NAME.match(name) or len(name) > _LONGEST_NAME:
        raise BadRequest(
            f"invalid network name {name!r}: only {NAME_RULE} is allowed, up to {_LONGEST_NAME} characters"
        )


def check_not_predefined(name: str) -> None:
    """Raise Forbidden for the names of netd's own networks."""
    if name in (*PREDEFINED, "default"):
        raise Forbidden(f"operation is not permitted on predefined {name} network ")
