"""The facts and the firewall rules that follow from the state.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from netd import facts
from netd.common.addresses import FAMILIES, Address, Family
from netd.drivers.registry import Drivers
from netd.engine.state import routed_ports
from netd.engine.state.routes import egress_endpoint, publishing_endpoint
from netd.engine.state.state import State
from netd.facts import DefaultRoute, Fact, Namespace
from netd.model import Network, Sandbox
from netd.portmap.rules import BridgeRules, Opened, Published, Ruleset


class DesiredState:
    """Computed from the state at each call; nothing is cached.  *respect*: see ``Ruleset``."""

    def __init__(self, state: State, drivers: Drivers, *, respect: bool = False) -> None:
        self._state = state
        self._drivers = drivers
        self._respect = respect

    def network(self, network: Network) -> facts.State:
        return facts.state(self._drivers.get(network.driver).network_facts(network))

    def sandbox(self, sandbox: Sandbox | None) -> facts.State:
        return facts.state(self._sandbox_facts(sandbox) if sandbox else ())

    def everything(self) -> facts.State:
        """Return the facts of all networks and sandboxes."""
        found: dict[tuple[str, ...], Fact] = {}
        for network in self._state.networks:
            found.update(self.network(network))
        for sandbox in self._state.sandboxes:
            found.update(self.sandbox(sandbox))
        return found

    def published(self, sandbox: Sandbox | None) -> frozenset[Published]:
        return frozenset(self._published(sandbox) if sandbox else ())

    def opened(self, sandbox: Sandbox | None) -> frozenset[Opened]:
        return frozenset(routed_ports.opened(self._state, self._drivers, sandbox) if sandbox else ())

    def rules(self, network: Network) -> BridgeRules | None:
        return self._drivers.get(network.driver).rules(network)

    def ruleset(self) -> Ruleset:
        """Return the rules of all networks and sandboxes."""
        bridges = (self.rules(network) for network in self._state.networks)
        published = (rule for sandbox in self._state.sandboxes for rule in self._published(sandbox))
        opened = (rule for sandbox in self._state.sandboxes for rule in self.opened(sandbox))
        return Ruleset(
            frozenset(filter(None, bridges)),
            frozenset(published),
            frozenset(opened),
            self._respect,
            frozenset[Address]().union(*self._state.over_budget.values()),
        )

    def _sandbox_facts(self, sandbox: Sandbox) -> Iterator[Fact]:
        if sandbox.on_host:
            return
        yield Namespace(sandbox=sandbox.id, sysctls=tuple(sorted(sandbox.sysctls.items())))
        for endpoint, network in self._state.networks_of(sandbox):
            yield from self._drivers.get(network.driver).endpoint_facts(network, sandbox, endpoint)
        for family in FAMILIES:
            egress = egress_endpoint(self._state, sandbox, family)
            gateway = egress[0].gateway_of(family) if egress else None
            if egress and gateway is not None:
                yield DefaultRoute(sandbox=sandbox.id, gateway=gateway, interface=egress[0].interface)

    def _published(self, sandbox: Sandbox) -> Iterator[Published]:
        targets = {family: self._target(sandbox, family) for family in FAMILIES} if sandbox.publications else {}
        for publication in sandbox.publications:
            target = targets[publication.address.version]
            if publication.port and target is not None:
                yield Published(
                    publication.protocol,
                    publication.address,
                    publication.port,
                    target,
                    publication.target,
                    publication.count,
                    publication.allow,
                )

    def _target(self, sandbox: Sandbox, family: Family) -> Address | None:
        """Return the container address to which published ports are translated."""
        attachment = publishing_endpoint(self._state, sandbox, family)
        address = attachment[0].address_of(family) if attachment else None
        return address.ip if address else None
