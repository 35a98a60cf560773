"""Pools and addresses of IPAM drivers: requested before a change, released when it fails or its object is deleted.

Networks with netd's own IPAM (``default``) are skipped.  While a driver is called, the object's lock does not block the
exclusive lock.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from msgspec.structs import replace

from netd.api import EndpointSettings, IPAMConfig
from netd.common import mac
from netd.common.addresses import FAMILIES, Address, Family, Interface
from netd.common.errors import NotFound, Problem, ServerError
from netd.engine.context import EngineContext
from netd.engine.state.state import State
from netd.ipam import pool_spec
from netd.ipam.drivers import AddressRequest, Granted, IpamDriver, IpamDrivers, PoolRequest, Soon, answer
from netd.ipam.texts import read_address
from netd.model import Endpoint, Network, NetworkSpec, Pool, PoolSpec
from netd.remote.plugins import Plugins

T = TypeVar("T")
_log = logging.getLogger(__name__)
_ATTEMPTS = 16
"""Maximum number of requests to a driver for a pool that overlaps no other network's."""


@dataclass(frozen=True, slots=True)
class _PoolRequests:
    """Requests of one network to its driver; *undo* collects the calls that release what was granted."""

    state: State
    name: str
    driver: IpamDriver
    options: Mapping[str, str]
    undo: AsyncExitStack

    async def pool(self, family: Family, requested: PoolSpec, *, has_gateway: bool) -> Pool:
        """Return a pool with its gateway and auxiliary addresses."""
        granted = await self._free_pool(family, requested)
        gateway = granted.gateway
        if gateway is None and (has_gateway or requested.gateway):
            gateway = await self._address(granted, AddressRequest(address=requested.gateway, gateway=True))
        for address in requested.auxiliary.values():
            await self._address(granted, AddressRequest(address=address))
        return Pool(granted.subnet, gateway, requested.ip_range, dict(requested.auxiliary), granted.id)

    async def _free_pool(self, family: Family, requested: PoolSpec) -> Granted:
        """Return a pool that overlaps no other network's; overlapping pools are released after the last attempt."""
        subnet = requested.subnet
        if subnet is not None and subnet.network_address.is_unspecified:
            subnet = None
        request = PoolRequest(family=family, subnet=subnet, ip_range=requested.ip_range, options=self.options)
        async with AsyncExitStack() as rejected:
            for _ in range(1 if subnet else _ATTEMPTS):
                granted = await call_driver(self.name, self.driver.request_pool(request))
                if self.state.overlapping_network(granted.subnet) is None:
                    self.undo.push_async_callback(_ignore_problems, self.driver.release_pool, granted.id)
                    return granted
                rejected.push_async_callback(_ignore_problems, self.driver.release_pool, granted.id)
        other = self.state.overlapping_network(granted.subnet)
        raise pool_spec.overlaps(
            granted.subnet, f"{other[0]} of network {other[1].name}" if other else "another network's"
        )

    async def _address(self, pool: Granted, request: AddressRequest) -> Address:
        found: Interface = await call_driver(self.name, self.driver.request_address(pool.id, request))
        self.undo.push_async_callback(_ignore_problems, self.driver.release_address, pool.id, found.ip)
        if found.ip not in pool.subnet:
            raise ServerError(f"IPAM driver {self.name} gave the address {found.ip}, which is not in {pool.subnet}")
        return found.ip


async def find_driver(ipam: IpamDrivers, plugins: Plugins, name: str) -> IpamDriver | None:
    """Return the driver; if no package provides it, look for a plugin.  None for netd's own.  Raises NotFound."""
    try:
        return ipam.get(name)
    except NotFound:
        found = plugins.addresses(name)
        await found.check()
        ipam.add(name, found)
        return found


@asynccontextmanager
async def request_pools(
    context: EngineContext, requested: NetworkSpec, has_gateway: Callable[[NetworkSpec, Family], bool]
) -> AsyncIterator[tuple[Pool, ...] | None]:
    """Request the network's pools from its driver; None with netd's own.  A failure of the body releases them."""
    driver = None
    if not requested.config_only:
        driver = await find_driver(context.ipam, context.plugins, requested.ipam_driver)
    if driver is None:
        yield None
        return
    async with AsyncExitStack() as undo:
        requests = _PoolRequests(context.state, requested.ipam_driver, driver, requested.ipam_options or {}, undo)
        specs = pool_spec.wanted(requested)
        pools = [
            await requests.pool(family, spec, has_gateway=has_gateway(requested, family)) for family, spec in specs
        ]
        yield tuple(pools)
        undo.pop_all()


async def release_pools(ipam: IpamDrivers, plugins: Plugins, network: Network) -> None:
    """Release a network's pools; the driver's refusals are ignored."""
    for pool in network.pools:
        driver = await find_driver(ipam, plugins, network.ipam_driver) if pool.id else None
        if driver is None:
            continue
        for address in (pool.gateway, *pool.auxiliary.values()):
            if address is not None:
                await _ignore_problems(driver.release_address, pool.id, address)
        await _ignore_problems(driver.release_pool, pool.id)


@asynccontextmanager
async def lease_addresses(
    context: EngineContext, requests: Iterable[tuple[Network, EndpointSettings]]
) -> AsyncIterator[Mapping[str, EndpointSettings]]:
    """Request addresses for new endpoints; yield the settings with these addresses, by network id.

    Networks with netd's own IPAM have no entry.  The addresses are released when the body fails.
    """
    leased = [(network, settings) for network, settings in requests if any(pool.id for pool in network.pools)]
    if not leased:
        yield {}
        return
    async with AsyncExitStack() as undo:
        async with context.locks.released():
            found = {
                network.id: await _lease(context.ipam, context.plugins, network, settings, undo)
                for network, settings in leased
            }
        yield found
        undo.pop_all()


async def _lease(
    ipam: IpamDrivers, plugins: Plugins, network: Network, settings: EndpointSettings, undo: AsyncExitStack
) -> EndpointSettings:
    config = settings.ipam_config or IPAMConfig()
    requested = {4: config.ipv4_address, 6: config.ipv6_address}
    mac_address = settings.mac_address or mac.generate(secrets.token_bytes(4))
    leased: dict[int, str] = {}
    driver = await find_driver(ipam, plugins, network.ipam_driver)
    for pool in map(network.pool, FAMILIES):
        if driver is None or pool is None or not pool.id:
            continue
        request = AddressRequest(address=read_address(requested[pool.subnet.version]), mac=mac_address)
        found: Interface = await call_driver(network.ipam_driver, driver.request_address(pool.id, request))
        undo.push_async_callback(_ignore_problems, driver.release_address, pool.id, found.ip)
        leased[pool.subnet.version] = str(found.ip)
    addresses = replace(config, ipv4_address=leased.get(4, ""), ipv6_address=leased.get(6, ""))
    return replace(settings, ipam_config=addresses, mac_address=mac_address)


def release_later(context: EngineContext, endpoints: Iterable[Endpoint]) -> None:
    """Release the addresses of endpoints at their drivers, in the background."""
    for endpoint in endpoints:
        network = context.state.network(endpoint.network) if context.state.has_network(endpoint.network) else None
        if network is not None and any(pool.id for pool in network.pools):
            job = _release(context.ipam, context.plugins, network, endpoint)
            context.background.start(job, f"release-addresses {endpoint.id[:12]}")


async def _release(ipam: IpamDrivers, plugins: Plugins, network: Network, endpoint: Endpoint) -> None:
    driver = await find_driver(ipam, plugins, network.ipam_driver)
    for address in endpoint.addresses if driver else ():
        pool = next((pool for pool in network.pools if address.ip in pool.subnet and pool.id), None)
        if pool is not None and driver is not None:
            await _ignore_problems(driver.release_address, pool.id, address.ip)


async def replay(state: State, ipam: IpamDrivers, plugins: Plugins) -> None:
    """Request all pools and addresses in use again from drivers without a store (RequiresRequestReplay)."""
    for network in state.networks:
        for pool in network.pools if any(pool.id for pool in network.pools) else ():
            try:
                driver = await find_driver(ipam, plugins, network.ipam_driver)
                if driver is not None and driver.replay:
                    await _replay(state, driver, network, pool)
            except Problem as problem:
                _log.error("IPAM replay failed: network=%s error=%s", network.name, problem.message)


async def _replay(state: State, driver: IpamDriver, network: Network, pool: Pool) -> None:
    family: Family = 4 if pool.subnet.version == 4 else 6
    request = PoolRequest(family=family, subnet=pool.subnet, ip_range=pool.ip_range, options=network.ipam_options or {})
    await call_driver(network.ipam_driver, driver.request_pool(request))
    if not state.has_network(network.id):
        return
    requests = [AddressRequest(address=pool.gateway, gateway=True)] if pool.gateway else []
    requests += [AddressRequest(address=address) for address in pool.auxiliary.values()]
    requests += [
        AddressRequest(address=address.ip, mac=endpoint.mac)
        for endpoint in state.members(network.id).values()
        if (address := endpoint.address_of(family))
    ]
    for address_request in requests:
        await call_driver(network.ipam_driver, driver.request_address(pool.id, address_request))


async def call_driver(name: str, result: Soon[T]) -> T:
    """Return the result of a driver's method; exceptions other than Problems become ServerError."""
    try:
        return await answer(result)
    except Problem:
        raise
    except Exception as problem:
        raise ServerError(f"IPAM driver {name} failed: {problem!r}") from problem


async def _ignore_problems(method: Callable[..., Soon[None]], *arguments: object) -> None:
    """Call a driver's release method; ignore a failure, so that the caller continues with the next call."""
    try:
        await call_driver("", method(*arguments))
    except Problem:
        return
