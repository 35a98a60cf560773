"""Addresses that containers were given by hand: netd keeps them also while the containers are stopped.

netd is told at every change, and all of it again when it comes back; that it cannot be told now prevents nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from netd.api import EndpointSettings, IPAMConfig, ReservationRequest
from netd.client import NetdClient
from netd.common.errors import Problem
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers

_log = logging.getLogger(__name__)


class StaticAddresses:
    def __init__(self, netd: NetdClient, containers: Containers) -> None:
        self._netd = netd
        self._containers = containers
        self._told: set[str] = set()
        """The containers that netd keeps something for."""

    async def tell(self, container: Container) -> None:
        """Have netd keep what the container declares now, and no more."""
        wanted = addresses(container.record.endpoints)
        if wanted or container.id in self._told:
            await self._put(container.id, ReservationRequest(name=container.record.name, networks=wanted))

    async def forget(self, container: Container) -> None:
        """Have netd keep nothing for a container that is gone."""
        if container.id in self._told:
            await self._put(container.id, ReservationRequest(name=container.record.name))

    async def agree(self) -> None:
        """Tell a netd that has come back everything.  Raises Unavailable when it is gone again."""
        kept = {one.id: one.name for one in await self._netd.reservations()}
        self._told = set(kept)
        for container in self._containers.all():
            await self.tell(container)
        for identifier, name in kept.items() if not self._containers.may_lack_records else ():
            if self._containers.get(identifier) is None:
                await self._put(identifier, ReservationRequest(name=name))

    async def _put(self, identifier: str, request: ReservationRequest) -> None:
        try:
            await self._netd.reserve(identifier, request)
        except Problem as problem:
            _log.warning("addresses not reserved: container=%s error=%s", identifier[:12], problem.message)
            return
        if request.networks:
            self._told.add(identifier)
        else:
            self._told.discard(identifier)


def addresses(endpoints: Mapping[str, EndpointSettings]) -> dict[str, IPAMConfig]:
    """Return the addresses that were given by hand, by network."""
    given = ((one.network_id or name, one.ipam_config) for name, one in endpoints.items())
    return {network: config for network, config in given if config and (config.ipv4_address or config.ipv6_address)}
