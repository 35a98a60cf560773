"""The topology of the host, computed from the records.  Pure: counters and links are passed in."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from netd.common.addresses import FAMILIES, Family
from netd.drivers import Driver, macvlan, options
from netd.drivers.registry import Drivers
from netd.engine.state.routes import egress_endpoint
from netd.engine.state.state import State
from netd.facts import MacvlanMode
from netd.host_protocol import LinkCounters
from netd.model import Endpoint, Network, Publication, Sandbox
from netd.portmap.rules import BridgeRules, GatewayMode
from netd.topology import reach
from netd.topology.values import ContainerNode, EndpointNode, NetworkNode, PoolView, PortNode, TopologyView, WayOut
from netd.version import VERSION

_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_LONGEST_LABEL = 128

Uplinks = Mapping[Family, Sequence[str]]


def topology(
    state: State, drivers: Drivers, host: str, uplinks: Uplinks, links: Mapping[str, str], over_budget: frozenset[str]
) -> TopologyView:
    """Return the topology without traffic.

    *links*: the host's link by endpoint id; *over_budget*: ids of the sandboxes whose new connections are dropped.
    """
    zones = _Zones(state, drivers)
    networks = [_network(state, drivers, network, uplinks, zones) for network in state.networks]
    containers = [_container(state, sandbox, links, sandbox.id in over_budget) for sandbox in state.sandboxes]
    return TopologyView(
        host=host,
        version=VERSION,
        time=time.time(),
        uplinks={str(family): list(names) for family, names in uplinks.items()},
        networks=networks,
        containers=containers,
        reach=reach.table(zones.by_key),
    )


def traffic(links: Mapping[str, str], counters: Mapping[str, LinkCounters]) -> dict[str, list[int]]:
    """Return the counters by endpoint id: bytes, packets, drops to the container, then from it."""
    return {endpoint: _numbers(counters[link]) for endpoint, link in links.items() if link in counters}


def _numbers(found: LinkCounters) -> list[int]:
    # A packet that a container receives is sent by the host's side of its pair.
    return [
        *(found.sent_bytes, found.sent_packets, found.sent_dropped),
        *(found.received_bytes, found.received_packets, found.received_dropped),
    ]


class _Zones:
    """The zones of the networks, each with a key."""

    def __init__(self, state: State, drivers: Drivers) -> None:
        rules = {network.id: drivers.get(network.driver).rules(network) for network in state.networks}
        trusted = frozenset(link for found in rules.values() if found for link in found.trusted)
        self.by_key = {"host": reach.HOST_ZONE, "outside": reach.OUTSIDE_ZONE}
        keys = {zone: key for key, zone in self.by_key.items()}
        self.of_network: dict[str, str] = {}
        for network in state.networks:
            zone = _zone(drivers.get(network.driver), network, rules[network.id], trusted)
            key = keys.setdefault(zone, f"zone{len(keys) - 1}")
            self.by_key[key] = zone
            self.of_network[network.id] = key


def _zone(driver: Driver, network: Network, rules: BridgeRules | None, trusted: frozenset[str]) -> reach.Zone:
    if rules is not None:
        return reach.of_bridge(rules, trusted)
    if driver.traits.on_host:
        return reach.HOST_ZONE
    if not driver.traits.addressed:
        return reach.Zone(kind=reach.Kind.NONE)
    if driver.traits.parent:
        return reach.Zone(
            kind=reach.Kind.PARENT,
            isolated=network.options.get(macvlan.MODE) == MacvlanMode.PRIVATE,
            families=_families(network),
            parent=network.options.get(driver.traits.parent, ""),
            host_access=options.flag(network.options, macvlan.ACCESS, False),
        )
    return reach.Zone(kind=reach.Kind.OTHER, families=_families(network))


def _families(network: Network) -> tuple[Family, ...]:
    return tuple(family for family, enabled in zip(FAMILIES, (network.ipv4, network.ipv6), strict=True) if enabled)


def _network(state: State, drivers: Drivers, network: Network, uplinks: Uplinks, zones: _Zones) -> NetworkNode:
    driver = drivers.get(network.driver)
    zone = zones.by_key[zones.of_network[network.id]]
    return NetworkNode(
        id=network.id,
        name=network.name,
        driver=network.driver,
        internal=network.internal,
        isolated=zone.isolated,
        predefined=network.predefined,
        device=driver.device(network) or "",
        mtu=network.mtu,
        options={} if network.remote else dict(network.options),
        pools=list(_pools(state, network)),
        ways_out=[_way_out(driver, network, zone, family, uplinks) for family in zone.families],
        zone=zones.of_network[network.id],
    )


def _pools(state: State, network: Network) -> Iterator[PoolView]:
    for family in FAMILIES:
        for allocations, pool in zip(state.addresses(network.id, family), network.pools_of(family), strict=True):
            yield PoolView(
                subnet=str(pool.subnet),
                gateway=str(pool.gateway or ""),
                range=str(pool.ip_range or ""),
                used=allocations.in_use,
                free=allocations.available,
            )


def _way_out(driver: Driver, network: Network, zone: reach.Zone, family: Family, uplinks: Uplinks) -> WayOut:
    links = list(uplinks.get(family, ()))
    match zone.kind:
        case reach.Kind.HOST:
            return WayOut(family=family, kind="host", links=links)
        case reach.Kind.PARENT if not network.internal:
            return WayOut(family=family, kind="parent", links=[zone.parent])
        case reach.Kind.BRIDGE if not zone.is_closed(family):
            rules = driver.rules(network)
            treatment = rules.treatment(family) if rules else None
            if treatment is None or treatment.mode is GatewayMode.ROUTED:
                return WayOut(family=family, kind="routed", links=links)
            if treatment.source is not None:
                return WayOut(family=family, kind="source", source=str(treatment.source), links=links)
            return WayOut(family=family, kind="masquerade" if treatment.masquerade else "routed", links=links)
        case _:
            return WayOut(family=family, kind="none")


def _container(state: State, sandbox: Sandbox, links: Mapping[str, str], over_budget: bool) -> ContainerNode:
    egress = {str(family): found[1].id for family in FAMILIES if (found := egress_endpoint(state, sandbox, family))}
    return ContainerNode(
        id=sandbox.id,
        name=sandbox.name,
        project=sandbox.labels.get(_PROJECT, "")[:_LONGEST_LABEL],
        service=sandbox.labels.get(_SERVICE, "")[:_LONGEST_LABEL],
        on_host=sandbox.on_host,
        over_budget=over_budget,
        endpoints=[_endpoint(endpoint, links.get(endpoint.id, "")) for endpoint in sandbox.endpoints],
        ports=[_port(publication) for publication in sandbox.publications],
        egress=egress,
    )


def _endpoint(endpoint: Endpoint, link: str) -> EndpointNode:
    return EndpointNode(
        id=endpoint.id,
        network=endpoint.network,
        interface=endpoint.interface,
        link=link,
        mac=endpoint.mac,
        addresses=[str(address) for address in endpoint.addresses],
        gateways=[str(gateway) for gateway in (endpoint.gateway, endpoint.gateway6) if gateway is not None],
        aliases=list(endpoint.settings.aliases or ()),
    )


def _port(publication: Publication) -> PortNode:
    return PortNode(
        protocol=publication.protocol,
        address=str(publication.address),
        port=publication.port,
        target=publication.target,
        count=publication.count,
        allow=[str(subnet) for subnet in publication.allow],
    )
