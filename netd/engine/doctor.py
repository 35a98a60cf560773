"""What prevents traffic that netd's rules admit: other programs' rules, by reading them and by sending packets."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from netd.api import DoctorView, DroppedView, ProbeView
from netd.common.addresses import EVERY_IPV4, EVERY_IPV6, FAMILIES, Address, Family
from netd.engine.context import EngineContext
from netd.host_protocol import Dropped, Probe
from netd.model import Endpoint, Network, Sandbox

_OUTSIDE: dict[Family, Address] = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
"""Addresses for documentation, which no host has."""
_DISCARD = 9
"""The port of the discard protocol."""


async def examine(context: EngineContext) -> DoctorView:
    """Return the traffic that other programs' rules drop now, and what became of one packet of each kind."""
    found = await context.host.dropped_traffic(read_again=True)
    probes = []
    for probe in _probes(context):
        arrived = await context.host.probe(probe)
        probes.append(
            ProbeView(traffic=probe.traffic, source=str(probe.source), destination=_ends(probe), arrived=arrived)
        )
    return DoctorView(dropped=[_view(dropped) for dropped in found], probes=probes)


async def dropped(context: EngineContext) -> list[str]:
    """Return one sentence for each chain that drops traffic, as of the last look at the chains."""
    return _sentences(await context.host.dropped_traffic())


def _sentences(dropped: list[Dropped]) -> list[str]:
    by_chain: dict[tuple[str, str], list[Dropped]] = {}
    for found in dropped:
        by_chain.setdefault((found.chain, found.reason), []).append(found)
    return [
        f"{chain} ({reason}) drops {_listed(group)} traffic of networks: permit it with `{group[0].remedy}`"
        for (chain, reason), group in by_chain.items()
    ]


def _listed(group: list[Dropped]) -> str:
    return ", ".join(dict.fromkeys(found.traffic for found in group))


def _view(found: Dropped) -> DroppedView:
    return DroppedView(
        traffic=found.traffic,
        family=found.family,
        network=found.bridge,
        chain=found.chain,
        reason=found.reason,
        remedy=found.remedy,
    )


def _ends(probe: Probe) -> str:
    if probe.receiver:
        return str(probe.destination)
    if not probe.sandbox:
        return f"port {probe.port}/{probe.protocol} of the host"
    return f"{probe.destination} port {probe.port}/{probe.protocol}"


def _probes(context: EngineContext) -> Iterator[Probe]:
    """Yield one probe of each kind of traffic and family for which there are containers."""
    for family in FAMILIES:
        attached = list(_attached(context, family))
        for sandbox, endpoint, network in attached:
            if not network.internal:
                source = _address(endpoint, family)
                yield Probe("outgoing", sandbox.id, source, _OUTSIDE[family], _DISCARD)
                break
        yield from _within(attached, family)
        yield from _published(context, family)


def _attached(context: EngineContext, family: Family) -> Iterator[tuple[Sandbox, Endpoint, Network]]:
    """Yield the containers with an address on a bridge network."""
    for sandbox in context.state.sandboxes:
        if sandbox.on_host:
            continue
        for endpoint, network in context.state.networks_of(sandbox):
            if network.driver == "bridge" and endpoint.address_of(family) is not None:
                yield sandbox, endpoint, network


def _within(attached: list[tuple[Sandbox, Endpoint, Network]], family: Family) -> Iterator[Probe]:
    """Yield a probe between the first two containers that share a network."""
    first: dict[str, tuple[Sandbox, Endpoint]] = {}
    for sandbox, endpoint, network in attached:
        if network.id in first:
            other, its_endpoint = first[network.id]
            source, destination = _address(its_endpoint, family), _address(endpoint, family)
            yield Probe("same network", other.id, source, destination, 0, receiver=sandbox.id)
            return
        first[network.id] = sandbox, endpoint


def _published(context: EngineContext, family: Family) -> Iterator[Probe]:
    """Yield a probe of the first port that is published at all addresses, for all clients."""
    every = EVERY_IPV4 if family == 4 else EVERY_IPV6
    for rule in sorted(context.desired_state.ruleset().published, key=lambda rule: (rule.port, rule.protocol)):
        if rule.address == every and not rule.allow and rule.protocol in ("tcp", "udp"):
            yield Probe("published", "", _OUTSIDE[family], rule.target, rule.port, protocol=rule.protocol)
            return


def _address(endpoint: Endpoint, family: Family) -> Address:
    found = endpoint.address_of(family)
    assert found is not None
    return found.ip
