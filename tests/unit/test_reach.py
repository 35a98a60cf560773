"""Who reaches whom, compared with the tables that packets are tested against; the topology computed from records."""

import pytest

from netd.drivers.registry import Drivers, discover
from netd.engine.views.topology import topology, traffic
from netd.host_protocol import LinkCounters
from netd.portmap.rules import BridgeRules, GatewayMode, Treatment
from netd.topology import reach
from netd.topology.reach import HOST_ZONE, OUTSIDE_ZONE, Access, Kind, Zone, between, of_bridge, within
from tests.matrix.tables import DIRECT, INTERNAL, PUBLISHED, Outcome
from tests.unit import builders


def bridge(mode=GatewayMode.NAT, **fields):
    treatment = Treatment(mode=mode)
    return of_bridge(BridgeRules(name="nd-x", ipv4=treatment, ipv6=treatment, **fields), frozenset())


NAT, INTERNAL_ZONE = bridge(), bridge(internal=True)
ZONES = {
    "another host": OUTSIDE_ZONE,
    "the host": HOST_ZONE,
    "a container of another network": NAT,
    "an internal network": INTERNAL_ZONE,
}


def reached(outcome):
    return outcome in (Outcome.OWN, Outcome.GATEWAY)


@pytest.mark.parametrize(("client", "to"), [key for key in DIRECT if key[0] in ZONES])
def test_own_addresses_are_reached_as_the_table_of_packets_says(client, to):
    server = {"an internal network": INTERNAL_ZONE, "another host": OUTSIDE_ZONE}.get(to, NAT)
    found = between(ZONES[client], server, 4).access
    assert (found is Access.ALL) == reached(DIRECT[client, to])


@pytest.mark.parametrize("client", ["another host", "a container of another network"])
def test_published_ports_are_reached_as_the_table_of_packets_says(client):
    assert reached(PUBLISHED[client][0]) and between(ZONES[client], NAT, 4).access is Access.PUBLISHED
    assert not reached(INTERNAL[client][0]) and between(ZONES[client], INTERNAL_ZONE, 4).access is Access.NONE


@pytest.mark.parametrize(
    ("mode", "access"),
    [(GatewayMode.NAT, Access.PUBLISHED), (GatewayMode.UNPROTECTED, Access.ALL), (GatewayMode.ROUTED, Access.OPENED)],
)
def test_the_gateway_mode_of_the_server_decides_between_networks(mode, access):
    for client in (NAT, OUTSIDE_ZONE):
        assert between(client, bridge(mode), 6).access is access
    assert between(INTERNAL_ZONE, bridge(mode), 6).access is Access.NONE


def test_a_network_without_communication_between_containers_still_has_published_ports():
    assert within(NAT, 4).access is Access.ALL
    assert within(bridge(isolated=True), 4).access is Access.PUBLISHED
    private = Zone(kind=Kind.PARENT, parent="eth1", isolated=True)
    assert within(private, 4).access is between(private, private, 4).access is Access.NONE


def test_macvlan_containers_are_hosts_of_their_parents_network():
    lan, other = Zone(kind=Kind.PARENT, parent="eth1"), Zone(kind=Kind.PARENT, parent="eth2")
    assert between(lan, lan, 4).access is between(OUTSIDE_ZONE, lan, 4).access is Access.ALL
    assert between(HOST_ZONE, lan, 4).access is between(lan, HOST_ZONE, 4).access is Access.NONE
    assert between(lan, other, 4).access is between(NAT, lan, 4).access is Access.UNKNOWN
    near = Zone(kind=Kind.PARENT, parent="eth1", host_access=True)
    assert between(HOST_ZONE, near, 4).access is between(near, HOST_ZONE, 4).access is Access.ALL


def test_a_trusted_bridge_reaches_all_ports_of_the_network_that_trusts_it():
    client = of_bridge(BridgeRules(name="nd-a"), frozenset({"nd-a"}))
    server = of_bridge(BridgeRules(name="nd-b", trusted=("nd-a", "eth0")), frozenset({"nd-a", "eth0"}))
    assert between(client, server, 4).access is Access.ALL
    assert between(NAT, server, 4).access is Access.PUBLISHED
    assert "all ports by nd-a, eth0" in between(OUTSIDE_ZONE, server, 4).reason


def test_the_table_has_every_pair_and_merges_families_with_equal_rules():
    both = of_bridge(BridgeRules(name="b", ipv6=Treatment(mode=GatewayMode.ROUTED)), frozenset())
    table = reach.table({"host": HOST_ZONE, "outside": OUTSIDE_ZONE, "a": NAT, "b": both})
    assert set(table) == {"host", "outside", "a", "b"} and set(table["a"]) == {"host", "outside", "a", "b", "same"}
    assert [(rule.access, rule.families) for rule in table["a"]["a"]] == [(Access.PUBLISHED, (4, 6))]
    assert [(rule.access, rule.families) for rule in table["a"]["b"]] == [
        (Access.PUBLISHED, (4,)),
        (Access.OPENED, (6,)),
    ]


@pytest.fixture
def drivers() -> Drivers:
    return discover()


def test_the_topology_of_records(drivers):
    shop = builders.network("shop", "172.30.0.0/24")
    vault = builders.network("vault", "172.31.0.0/24", internal=True)
    first, second = builders.endpoint(shop, 2, aliases=["www"]), builders.endpoint(vault, 3)
    web = builders.sandbox(
        "web",
        first,
        second,
        publications=(builders.publication(8080, 80, count=2),),
        labels={"com.docker.compose.project": "p" * 300, "secret": "hunter2"},
    )
    state = builders.state(shop, vault, sandboxes=[web])
    found = topology(state, drivers, "box", {4: ("eth0",), 6: ()}, {first.id: "ndp1"}, frozenset({web.id}))
    assert [(network.name, network.ways_out[0].kind, network.ways_out[0].links) for network in found.networks] == [
        ("shop", "masquerade", ["eth0"]),
        ("vault", "none", []),
    ]
    assert [(pool.subnet, pool.gateway) for pool in found.networks[0].pools] == [("172.30.0.0/24", "172.30.0.1")]
    container = found.containers[0]
    assert container.over_budget and container.egress == {"4": shop.id} and len(container.project) == 128
    assert [(e.addresses, e.aliases, e.link) for e in container.endpoints] == [
        (["172.30.0.2/24"], ["www"], "ndp1"),
        (["172.31.0.3/24"], [], ""),
    ]
    assert [(port.address, port.port, port.target, port.count) for port in container.ports] == [
        ("0.0.0.0", 8080, 80, 2)
    ]
    assert "hunter2" not in repr(found)
    zone = {network.name: network.zone for network in found.networks}
    assert found.reach[zone["shop"]]["outside"][0].access is Access.ALL
    assert found.reach[zone["vault"]]["outside"][0].access is Access.NONE


def test_networks_with_equal_rules_share_a_zone(drivers):
    networks = [builders.network(f"n{number}", f"10.0.{number}.0/24") for number in range(50)]
    found = topology(builders.state(*networks), drivers, "box", {}, {}, frozenset())
    assert {network.zone for network in found.networks} == {"zone1"} and len(found.reach) == 3


def test_traffic_is_seen_from_the_container():
    counters = LinkCounters(
        received_bytes=1, received_packets=2, received_dropped=3, sent_bytes=4, sent_packets=5, sent_dropped=6
    )
    assert traffic({"e": "ndp1", "gone": "ndp2"}, {"ndp1": counters}) == {"e": [4, 5, 6, 1, 2, 3]}


def test_every_change_of_a_record_changes_the_revision():
    shop = builders.network("shop")
    state = builders.state(shop)
    web = builders.sandbox("web", builders.endpoint(shop, 2))
    seen = [state.revision]
    for change in (
        lambda: state.put_network(builders.network("other", "10.0.1.0/24")),
        lambda: state.put_sandbox(web),
        lambda: state.replace_network(shop),
        lambda: state.drop_sandbox(web.id),
        lambda: state.drop_network(shop),
    ):
        change()
        seen.append(state.revision)
    assert len(set(seen)) == len(seen)
