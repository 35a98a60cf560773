"""Which subnets a new network gets: those that were asked for if nobody has them, else the first that is free."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import msgspec

from netd.common.addresses import Family, Subnet, overlap
from netd.common.config import Settings
from netd.common.errors import BadRequest
from netd.common.ids import new_id
from netd.common.store.store import Put, Store
from netd.engine.context import META, EngineContext
from netd.engine.views import files
from netd.ipam import pool_spec, pools
from netd.ipam.drivers import NULL
from netd.ipam.pools import SubnetSource
from netd.model import NetworkSpec, Pool

_INSTALLATION = "installation"
_NAMED = 10
"""As many networks are named in an error."""


class Installation(msgspec.Struct, frozen=True):
    """What tells this state from all others."""

    id: str


async def identity(store: Store) -> str:
    """Return the random name that the state was given when it was begun."""
    found = store.load(META, Installation).get(_INSTALLATION)
    if found is None:
        found = Installation(new_id())
        await store.write(Put(META, _INSTALLATION, found))
    return found.id


def sources(settings: Settings, installation: str) -> tuple[pools.SubnetSource, ...]:
    """Return where subnets come from.  Raises BadRequest when the configuration says it unreadably."""
    given = pools.configured(settings.default_address_pools)
    own = () if pools.of_family(given, 6) else (pools.local_source(installation),)
    return (*(given or pools.DEFAULT), *own)


class Subnets:
    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._avoided = pools.avoided(context.settings.avoid)

    async def pools(self, asked: NetworkSpec) -> tuple[Pool, ...]:
        """Return a pool for each that is asked for, then one for each family that is on and not asked about."""
        if asked.ipam_driver == NULL:
            return ()
        driver, found = self._context.drivers.get(asked.driver), list[Pool]()
        for family, one in pool_spec.wanted(asked):
            subnet = await self._subnet(family, one.subnet, [pool.subnet for pool in found])
            found.append(pool_spec.make_pool(one, subnet, has_gateway=driver.has_gateway(asked, family)))
        return tuple(found)

    async def _subnet(self, family: Family, wanted: Subnet | None, own: Sequence[Subnet]) -> Subnet:
        """Return the subnet, or one of the size that it stands for; *own* are the network's others."""
        if wanted is None or wanted.network_address.is_unspecified:
            return await self._choose(family, wanted.prefixlen if wanted else 0, own)
        state = self._context.state
        if (there := state.overlapping_network(wanted)) is not None:
            raise pool_spec.overlaps(wanted, f"{there[0]} of network {there[1].name}")
        for other in own:
            if overlap(wanted, other):
                raise pool_spec.overlaps(wanted, f"{other} of the same network")
        return wanted

    async def _choose(self, family: Family, size: int, own: Sequence[Subnet]) -> Subnet:
        """Return the first free subnet, of the sources' own size where *size* is 0."""
        sources = pools.of_family(self._context.subnet_sources, family)
        if size and not pools.has_size(sources, size):
            raise BadRequest(f"invalid address pool: no default pool has room for a /{size}; give the subnet itself")
        avoided = pools.routed_ranges([*own, *self._avoided, *await self._routed()])
        if (found := self._context.state.subnets.choose(sources, avoided, size or None)) is None:
            raise BadRequest(f"all predefined address pools have been fully subnetted: {self._remedy(sources)}")
        return found

    def _remedy(self, sources: Sequence[SubnetSource]) -> str:
        """Say where nothing is left, and which networks could make room."""
        state = self._context.state
        unused = [one.name for one in state.networks if one.pools and not one.predefined and not state.members(one.id)]
        named = ", ".join(unused[:_NAMED]) + (f" and {len(unused) - _NAMED} more" if len(unused) > _NAMED else "")
        tried = ", ".join(map(str, sources))
        room = f"remove networks that nobody uses ({named})" if unused else "no network is unused"
        return f"nothing is left in {tried}; {room}, give a subnet, or set default_address_pools"

    async def _routed(self) -> list[Subnet]:
        """Return where the host gets to without us, and whom it asks for names."""
        servers = files.read(self._context.host_files.read().resolv_conf).servers
        alone = [found for text in servers if (found := _alone(text)) is not None]
        return [*await self._context.host.used_subnets(), *alone]


def _alone(text: str) -> Subnet | None:
    """Return the subnet that is this address alone; None when it is none."""
    try:
        return ip_network(ip_address(text.partition("%")[0]))
    except ValueError:
        return None
