"""Reserves the static addresses and the given MACs of containers in netd, also while the containers are stopped.

Reservations are sent at every change, and all of them again when netd answers after an outage.  A reservation that
fails is logged and does not fail the request.
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
        self._reserved: set[str] = set()
        """Ids of the containers that have reservations in netd."""

    async def reserve(self, container: Container) -> None:
        """Replace the container's reservations by its current static addresses and given MACs."""
        endpoints = container.record.endpoints
        reservations, given = addresses(endpoints), macs(endpoints)
        if reservations or given or container.id in self._reserved:
            request = ReservationRequest(name=container.record.name, networks=reservations, macs=given)
            await self._put(container.id, request)

    async def release(self, container: Container) -> None:
        """Delete the reservations of a removed container."""
        if container.id in self._reserved:
            await self._put(container.id, ReservationRequest(name=container.record.name))

    async def synchronize(self) -> None:
        """Send all reservations to netd and delete those of unknown containers.  Raises Unavailable if netd is down."""
        names = {reservation.id: reservation.name for reservation in await self._netd.reservations()}
        self._reserved = set(names)
        for container in self._containers.all():
            await self.reserve(container)
        for identifier, name in names.items() if not self._containers.records_may_be_missing else ():
            if self._containers.get(identifier) is None:
                await self._put(identifier, ReservationRequest(name=name))

    async def _put(self, identifier: str, request: ReservationRequest) -> None:
        try:
            await self._netd.reserve(identifier, request)
        except Problem as problem:
            _log.warning("addresses not reserved: container=%s error=%s", identifier[:12], problem.message)
            return
        if request.networks or request.macs:
            self._reserved.add(identifier)
        else:
            self._reserved.discard(identifier)


def addresses(endpoints: Mapping[str, EndpointSettings]) -> dict[str, IPAMConfig]:
    """Return the static addresses by network id, or by name where the id is not known yet."""
    configs = ((endpoint.network_id or name, endpoint.ipam_config) for name, endpoint in endpoints.items())
    return {network: config for network, config in configs if config and (config.ipv4_address or config.ipv6_address)}


def macs(endpoints: Mapping[str, EndpointSettings]) -> dict[str, str]:
    """Return the given MACs by network id, or by name where the id is not known yet."""
    given = ((endpoint.network_id or name, endpoint.mac_address) for name, endpoint in endpoints.items())
    return {network: mac for network, mac in given if mac}
