"""Remote drivers: drivers that are plugins in other processes.

The engine calls the plugin (:class:`NetworkDriverCalls`) and stores its response in the endpoint's record; the pure
:class:`RemoteDriver` computes the facts from the record.
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
    """The calls to a plugin.  Every call has a timeout and raises a Problem on failure.

    ``leave``, ``delete_endpoint`` and ``delete_network`` may be repeated; an unknown id is not an error.
    """

    async def check(self) -> None:
        """Raise a Problem unless the driver's networks have local scope."""

    async def without_gateway(self, asked: NetworkSpec) -> tuple[Family, ...]:
        """Return the families without a reserved gateway address (GwAllocCheck)."""

    async def create_network(self, network: Network) -> None: ...

    async def delete_network(self, network: str) -> None: ...

    async def create_endpoint(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint completed with the addresses and the MAC that the plugin chose."""

    async def join(self, sandbox: Sandbox, endpoint: Endpoint, key: Path) -> Endpoint:
        """Return the endpoint with its link, routes and gateways; *key* is the path of the network namespace."""

    async def program(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        """Publish the container's ports: this endpoint has a default route now."""

    async def revoke(self, endpoint: Endpoint) -> None: ...

    async def leave(self, network: str, endpoint: str) -> None: ...

    async def delete_endpoint(self, network: str, endpoint: str) -> None: ...


class RemoteDriver(BareDriver):
    """The facts of a remote network: links that the plugin created are moved into the sandboxes."""

    traits = Traits()

    def validate(self, spec: NetworkSpec) -> None:
        """Accept every spec: only the plugin knows its options."""

    def endpoint_facts(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> tuple[Fact, ...]:
        if endpoint.join_info is None:
            return ()
        link = PluginLink(
            source=endpoint.join_info.source,
            sandbox=sandbox.id,
            inside=endpoint.interface,
            mac=endpoint.mac,
            addresses=endpoint.addresses,
            routes=tuple(StaticRoute(route.destination, route.via) for route in endpoint.join_info.routes),
        )
        return (link,)

    def has_gateway(self, spec: NetworkSpec, family: Family) -> bool:
        return family not in spec.without_gateway

    def binding_addresses(self, network: Network) -> tuple[Address, ...]:
        """Return nothing: the plugin publishes ports itself."""
        return ()
