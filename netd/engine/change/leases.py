"""Pools and addresses that an IPAM driver gives: asked for before a change, given back when it fails or is over.

netd's own choice passes through untouched.  While a driver is waited for, the turn is put aside.
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
from netd.ipam import pool_spec
from netd.ipam.drivers import AddressRequest, Granted, IpamDriver, PoolRequest, Soon, answer
from netd.ipam.texts import read_address
from netd.model import Endpoint, Network, NetworkSpec, Pool, PoolSpec

T = TypeVar("T")
_log = logging.getLogger(__name__)
_TRIES = 16
"""How often a driver is asked for a pool that overlaps no other."""


@dataclass(frozen=True, slots=True)
class _Pools:
    """One driver's pools, while a network is made of them; *undo* gives back what came."""

    context: EngineContext
    name: str
    driver: IpamDriver
    options: Mapping[str, str]
    undo: AsyncExitStack

    async def granted(self, family: Family, asked: PoolSpec) -> Granted:
        """Return a pool that overlaps no other: those that do are held until a better one is there."""
        subnet = None if asked.subnet is None or asked.subnet.network_address.is_unspecified else asked.subnet
        request = PoolRequest(family=family, subnet=subnet, ip_range=asked.ip_range, options=self.options)
        async with AsyncExitStack() as rejected:
            for _ in range(1 if subnet else _TRIES):
                found = await ask(self.name, self.driver.request_pool(request))
                if self.context.state.overlapping_network(found.subnet) is None:
                    self.undo.push_async_callback(_regardless, self.driver.release_pool, found.id)
                    return found
                rejected.push_async_callback(_regardless, self.driver.release_pool, found.id)
        there = self.context.state.overlapping_network(found.subnet)
        raise pool_spec.overlaps(
            found.subnet, f"{there[0]} of network {there[1].name}" if there else "another network's"
        )

    async def address(self, pool: Granted, asked: AddressRequest) -> Address:
        found: Interface = await ask(self.name, self.driver.request_address(pool.id, asked))
        self.undo.push_async_callback(_regardless, self.driver.release_address, pool.id, found.ip)
        if found.ip not in pool.subnet:
            raise ServerError(f"IPAM driver {self.name} gave the address {found.ip}, which is not in {pool.subnet}")
        return found.ip

    async def pool(self, family: Family, asked: PoolSpec, *, has_gateway: bool) -> Pool:
        granted = await self.granted(family, asked)
        gateway = granted.gateway
        if gateway is None and (has_gateway or asked.gateway):
            gateway = await self.address(granted, AddressRequest(address=asked.gateway, gateway=True))
        for address in asked.auxiliary.values():
            await self.address(granted, AddressRequest(address=address))
        return Pool(granted.subnet, gateway, asked.ip_range, dict(asked.auxiliary), granted.id)


async def driver(context: EngineContext, name: str) -> IpamDriver | None:
    """Return the driver, one that nobody installed from among the plugins; None for netd's own.  Raises NotFound."""
    try:
        return context.ipam.get(name)
    except NotFound:
        found = context.plugins.addresses(name)
        await found.check()
        context.ipam.add(name, found)
        return found


@asynccontextmanager
async def request_pools(
    context: EngineContext, asked: NetworkSpec, has_gateway: Callable[[NetworkSpec, Family], bool]
) -> AsyncIterator[tuple[Pool, ...] | None]:
    """Have the network's driver give its pools; None where netd chooses.  When what follows fails they go back."""
    found = None if asked.config_only else await driver(context, asked.ipam_driver)
    if found is None:
        yield None
        return
    async with AsyncExitStack() as undo:
        giver = _Pools(context, asked.ipam_driver, found, asked.ipam_options or {}, undo)
        wanted = pool_spec.wanted(asked)
        yield tuple([await giver.pool(family, one, has_gateway=has_gateway(asked, family)) for family, one in wanted])
        undo.pop_all()


async def release_pools(context: EngineContext, network: Network) -> None:
    """Give a network's pools back, whatever the driver says."""
    for pool in network.pools:
        giver = await driver(context, network.ipam_driver) if pool.id else None
        if giver is None:
            continue
        for address in (pool.gateway, *pool.auxiliary.values()):
            if address is not None:
                await _regardless(giver.release_address, pool.id, address)
        await _regardless(giver.release_pool, pool.id)


@asynccontextmanager
async def lease_addresses(
    context: EngineContext, places: Iterable[tuple[Network, EndpointSettings]]
) -> AsyncIterator[Mapping[str, EndpointSettings]]:
    """Have drivers give the addresses of new endpoints; returns the settings with these, by the networks' ids.

    When what follows fails they go back.
    """
    leased = [(network, settings) for network, settings in places if any(pool.id for pool in network.pools)]
    if not leased:
        yield {}
        return
    async with AsyncExitStack() as undo:
        async with context.locks.released():
            found = {network.id: await _leased(context, network, settings, undo) for network, settings in leased}
        yield found
        undo.pop_all()


async def _leased(
    context: EngineContext, network: Network, settings: EndpointSettings, undo: AsyncExitStack
) -> EndpointSettings:
    config = settings.ipam_config or IPAMConfig()
    wished = {4: config.ipv4_address, 6: config.ipv6_address}
    own = settings.mac_address or mac.generate(secrets.token_bytes(4))
    given: dict[int, str] = {}
    giver = await driver(context, network.ipam_driver)
    for pool in map(network.pool, FAMILIES):
        if giver is None or pool is None or not pool.id:
            continue
        request = AddressRequest(address=read_address(wished[pool.subnet.version]), mac=own)
        found: Interface = await ask(network.ipam_driver, giver.request_address(pool.id, request))
        undo.push_async_callback(_regardless, giver.release_address, pool.id, found.ip)
        given[pool.subnet.version] = str(found.ip)
    addresses = replace(config, ipv4_address=given.get(4, ""), ipv6_address=given.get(6, ""))
    return replace(settings, ipam_config=addresses, mac_address=own)


def release_later(context: EngineContext, endpoints: Iterable[Endpoint]) -> None:
    """Have drivers take addresses back by and by."""
    for endpoint in endpoints:
        network = context.state.network(endpoint.network) if context.state.has_network(endpoint.network) else None
        if network is not None and any(pool.id for pool in network.pools):
            context.background.start(_give_back(context, network, endpoint), f"give-back {endpoint.id[:12]}")


async def _give_back(context: EngineContext, network: Network, endpoint: Endpoint) -> None:
    giver = await driver(context, network.ipam_driver)
    for address in endpoint.addresses if giver else ():
        pool = next((one for one in network.pools if address.ip in one.subnet and one.id), None)
        if pool is not None and giver is not None:
            await _regardless(giver.release_address, pool.id, address.ip)


async def replay(context: EngineContext) -> None:
    """Ask drivers that keep nothing themselves for all that they gave, and is in use, once more."""
    for network in context.state.networks:
        for pool in network.pools if any(pool.id for pool in network.pools) else ():
            try:
                await _replay(context, network, pool)
            except Problem as problem:
                _log.error("network=%s replay=failed reason=%s", network.name, problem.message)


async def _replay(context: EngineContext, network: Network, pool: Pool) -> None:
    giver = await driver(context, network.ipam_driver)
    if giver is None or not giver.replay:
        return
    family: Family = 4 if pool.subnet.version == 4 else 6
    request = PoolRequest(family=family, subnet=pool.subnet, ip_range=pool.ip_range, options=network.ipam_options or {})
    await ask(network.ipam_driver, giver.request_pool(request))
    if not context.state.has_network(network.id):
        return
    endpoints = context.state.members(network.id).values()
    wanted = [AddressRequest(address=pool.gateway, gateway=True)] if pool.gateway else []
    wanted += [AddressRequest(address=address) for address in pool.auxiliary.values()]
    wanted += [AddressRequest(address=found.ip, mac=one.mac) for one in endpoints if (found := one.address_of(family))]
    for one in wanted:
        await ask(network.ipam_driver, giver.request_address(pool.id, one))


async def ask(name: str, soon: Soon[T]) -> T:
    """Return what a driver came to; what is no Problem of its own is told as one."""
    try:
        return await answer(soon)
    except Problem:
        raise
    except Exception as problem:
        raise ServerError(f"IPAM driver {name} failed: {problem!r}") from problem


async def _regardless(method: Callable[..., Soon[None]], *words: object) -> None:
    """Give something back; a driver that does not take it prevents nothing."""
    try:
        await ask("", method(*words))
    except Problem:
        return
