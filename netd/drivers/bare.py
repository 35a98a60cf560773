"""The base class of drivers that override only some methods."""

from __future__ import annotations

from netd.common.addresses import Address, Family
from netd.drivers import EVERY_ADDRESS
from netd.facts import Fact
from netd.model import Endpoint, Network, NetworkSpec, Sandbox


class BareDriver:
    """The methods of a driver that creates no kernel objects."""

    def validate(self, spec: NetworkSpec) -> None:
        """Accept every spec: only predefined networks use this method."""

    def device(self, network: Network) -> str | None:
        return None

    def has_gateway(self, spec: NetworkSpec, family: Family) -> bool:
        return True

    def network_facts(self, network: Network) -> tuple[Fact, ...]:
        return ()

    def rules(self, network: Network) -> None:
        return None

    def endpoint_facts(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> tuple[Fact, ...]:
        return ()

    def binding_addresses(self, network: Network) -> tuple[Address, ...]:
        return EVERY_ADDRESS
