"""Subnets of new networks: requested subnets are checked for overlaps, others are chosen from the free ones."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import msgspec

from netd.common.addresses import Family, Subnet, overlap
from netd.common.config import Settings
from netd.common.errors import BadRequest
from netd.common.ids import new_id
from netd.common.store.store import Put, Store
from netd.dns import resolv_conf
from netd.engine.context import META, EngineContext
from netd.ipam import pool_spec, pools
from netd.ipam.drivers import NULL
from netd.ipam.pools import SubnetSource
from netd.model import NetworkSpec, Pool

_INSTALLATION = "installation"
_MAX_NAMES = 10
"""Number of networks that an error names."""


class Installation(msgspec.Struct, frozen=True):
    """The random id of this state folder."""

    id: str


async def identity(store: Store) -> str:
    """Return the installation's random id; the first call creates it."""
    found = store.load(META, Installation).get(_INSTALLATION)
    if found is None:
        found = Installation(new_id())
        await store.write(Put(META, _INSTALLATION, found))
    return found.id


def sources(settings: Settings, installation: str) -> tuple[pools.SubnetSource, ...]:
    """Return the address pools of the settings or the default ones.  Raises BadRequest for an invalid setting.

    Unless IPv6 pools are set, unique local addresses (RFC 4193) are derived from the installation's id.
    """
    configured = pools.configured(settings.default_address_pools)
    local = () if pools.of_family(configured, 6) else (pools.local_source(installation),)
    return (*(configured or pools.DEFAULT), *local)


class Subnets:
    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._avoided = pools.avoided(context.settings.avoid)

    async def pools(self, requested: NetworkSpec) -> tuple[Pool, ...]:
        """Return a pool for each requested subnet, and one for each enabled family without a requested subnet."""
        if requested.ipam_driver == NULL:
            return ()
        driver, found = self._context.drivers.get(requested.driver), list[Pool]()
        for family, spec in pool_spec.wanted(requested):
            subnet = await self._subnet(family, spec.subnet, [pool.subnet for pool in found])
            found.append(pool_spec.make_pool(spec, subnet, has_gateway=driver.has_gateway(requested, family)))
        return tuple(found)

    async def _subnet(self, family: Family, requested: Subnet | None, own: Sequence[Subnet]) -> Subnet:
        """Return the requested subnet, or a free one; a request for 0.0.0.0/n or ::/n sets only the prefix length.

        *own* are the other subnets of the network.
        """
        if requested is None or requested.network_address.is_unspecified:
            return await self._choose(family, requested.prefixlen if requested else 0, own)
        state = self._context.state
        if (used := state.overlapping_network(requested)) is not None:
            raise pool_spec.overlaps(requested, f"{used[0]} of network {used[1].name}")
        for other in own:
            if overlap(requested, other):
                raise pool_spec.overlaps(requested, f"{other} of the same network")
        return requested

    async def _choose(self, family: Family, size: int, own: Sequence[Subnet]) -> Subnet:
        """Return the first free subnet of prefix length *size*; with 0, of the prefix length of its source."""
        sources = pools.of_family(self._context.subnet_sources, family)
        if size and not pools.has_size(sources, size):
            raise BadRequest(f"invalid address pool: no default pool has room for a /{size}; specify the subnet")
        avoided = pools.routed_ranges([*own, *self._avoided, *await self._used_by_host()])
        if (found := self._context.state.subnets.choose(sources, avoided, size or None)) is None:
            raise BadRequest(f"all predefined address pools have been fully subnetted: {self._remedy(sources)}")
        return found

    def _remedy(self, sources: Sequence[SubnetSource]) -> str:
        """Return the remedy for the error: the exhausted pools, and unused networks that could be removed."""
        state = self._context.state
        unused = [
            network.name
            for network in state.networks
            if network.pools and not network.predefined and not state.members(network.id)
        ]
        named = ", ".join(unused[:_MAX_NAMES]) + (
            f" and {len(unused) - _MAX_NAMES} more" if len(unused) > _MAX_NAMES else ""
        )
        tried = ", ".join(map(str, sources))
        room = f"remove unused networks ({named})" if unused else "no network is unused"
        return f"no subnet is free in {tried}; {room}, specify a subnet, or set default_address_pools"

    async def _used_by_host(self) -> list[Subnet]:
        """Return the subnets of the host's routes and addresses, and the addresses of its name servers."""
        servers = resolv_conf.parse(self._context.host_files.read().resolv_conf).servers
        single = [found for text in servers if (found := _single(text)) is not None]
        return [*await self._context.host.used_subnets(), *single]


def _single(text: str) -> Subnet | None:
    """Return the /32 or /128 of an address; None if the text is not an address."""
    try:
        return ip_network(ip_address(text.partition("%")[0]))
    except ValueError:
        return None
