"""What the kernel should hold for what is known: facts and the firewall.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from netd import facts
from netd.drivers.registry import Drivers
from netd.engine.routes import way_out
from netd.engine.state import State
from netd.facts import DefaultRoute, Fact, Namespace
from netd.model import Network, Sandbox
from netd.portmap.rules import BridgeRules, Published, Ruleset


class Wanted:
    """Answers from the state as it is when asked."""

    def __init__(self, state: State, drivers: Drivers) -> None:
        self._state = state
        self._drivers = drivers

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

    def rules(self, network: Network) -> BridgeRules | None:
        return self._drivers.get(network.driver).rules(network)

    def ruleset(self) -> Ruleset:
        """Return the whole firewall."""
        bridges = (self.rules(network) for network in self._state.networks)
        published = (one for sandbox in self._state.sandboxes for one in self._published(sandbox))
        return Ruleset(frozenset(filter(None, bridges)), frozenset(published))

    def _sandbox_facts(self, sandbox: Sandbox) -> Iterator[Fact]:
        if sandbox.on_host:
            return
        yield Namespace(sandbox=sandbox.id, sysctls=tuple(sorted(sandbox.sysctls.items())))
        for endpoint, network in self._state.networks_of(sandbox):
            yield from self._drivers.get(network.driver).endpoint_facts(network, sandbox, endpoint)
        way = way_out(self._state, sandbox)
        if way is not None and way[0].gateway is not None:
            yield DefaultRoute(sandbox=sandbox.id, gateway=way[0].gateway)

    def _published(self, sandbox: Sandbox) -> Iterator[Published]:
        way = way_out(self._state, sandbox) if sandbox.publications else None
        if way is None or way[0].address is None:
            return
        target = way[0].address.ip
        for one in sandbox.publications:
            yield Published(one.protocol, one.address, one.port, target, one.target, one.count)
