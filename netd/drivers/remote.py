"""Drivers that have a part in another process: what the engine asks them to do around a pure plan.

A network of such a driver is *remote*.  Its plan (:class:`RemoteDriver`) follows from what the driver said when an
endpoint was made, which is kept in the endpoint's record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from netd.common.addresses import Address, Family
from netd.drivers import Traits
from netd.drivers.bare import BareDriver
from netd.facts import Fact, PluginLink, StaticRoute
from netd.model import Endpoint, Network, NetworkSpec, Sandbox


class NetworkDriverCalls(Protocol):
    """Every call ends within a bounded time, and raises a Problem in one sentence when it failed.

    ``leave``, ``delete_endpoint`` and ``delete_network`` may be repeated, and are no error for what is unknown.
    """

    async def check(self) -> None:
        """Raise unless the driver can make networks of this host."""

    async def without_gateway(self, asked: NetworkSpec) -> tuple[Family, ...]:
        """Return the families of which no address should be kept for a gateway."""

    async def create_network(self, network: Network) -> None: ...

    async def delete_network(self, network: str) -> None: ...

    async def create_endpoint(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with the addresses and the MAC that were left to the driver."""

    async def join(self, sandbox: Sandbox, endpoint: Endpoint, key: Path) -> Endpoint:
        """Return the endpoint with its link, its routes, and where its ways out lead; *key* is the namespace's path."""

    async def program(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        """Make the container's ports reachable: this endpoint is its way out now."""

    async def revoke(self, endpoint: Endpoint) -> None: ...

    async def leave(self, network: str, endpoint: str) -> None: ...

    async def delete_endpoint(self, network: str, endpoint: str) -> None: ...


class RemoteDriver(BareDriver):
    """The plan of a remote network: links that the driver made are moved into the sandboxes."""

    traits = Traits()

    def validate(self, spec: NetworkSpec) -> None:
        """What an option means is known to the driver alone."""

    def endpoint_facts(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> tuple[Fact, ...]:
        if endpoint.join_info is None:
            return ()
        moved = PluginLink(
            source=endpoint.join_info.source,
            sandbox=sandbox.id,
            inside=endpoint.interface,
            mac=endpoint.mac,
            addresses=endpoint.addresses,
            routes=tuple(StaticRoute(one.destination, one.via) for one in endpoint.join_info.routes),
        )
        return (moved,)

    def has_gateway(self, spec: NetworkSpec, family: Family) -> bool:
        return family not in spec.without_gateway

    def binding_addresses(self, network: Network) -> tuple[Address, ...]:
        """The driver publishes ports itself."""
        return ()
