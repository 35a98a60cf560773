"""Derived from the records: desired kernel state, DNS records, and network settings."""

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from netd.api import PortBinding
from netd.dns.records import Service, fold
from netd.drivers.registry import discover
from netd.engine.desired_state import DesiredState
from netd.engine.state.routes import by_priority, egress_endpoint, gateways
from netd.engine.views import network_settings
from netd.engine.views.dns_records import NetworkNames
from netd.facts import Bridge, DefaultRoute, Namespace, Pair
from netd.model import PortRequest
from netd.portmap.rules import BridgeRules, Published, Treatment
from tests.unit.builders import endpoint, network, publication, sandbox, state


@pytest.fixture
def front():
    return network("front", "10.1.0.0/16")


@pytest.fixture
def back():
    return network("back", "10.2.0.0/16")


def wanted(made):
    return DesiredState(made, discover())


def test_a_container_on_a_bridge_is_a_namespace_a_pair_and_a_route(front):
    web = sandbox("web", endpoint(front, 2), sysctls={"net.core.somaxconn": "9", "net.a.b": "1"})
    facts = wanted(state(front, sandboxes=[web])).sandbox(web)
    assert list(facts.values()) == [
        Namespace(sandbox=web.id, sysctls=(("net.a.b", "1"), ("net.core.somaxconn", "9"))),
        Pair(
            host=f"ndp{web.endpoints[0].id[:10]}",
            bridge=f"nd-{front.id[:12]}",
            alias="web.front",
            sandbox=web.id,
            inside="eth2",
            mac="02:42:0a:01:00:02",
            addresses=(web.endpoints[0].address,),
            mtu=1500,
        ),
        DefaultRoute(sandbox=web.id, gateway=IPv4Address("10.1.0.1")),
    ]


def test_a_host_mode_container_has_no_facts():
    assert wanted(state()).sandbox(sandbox("h", on_host=True)) == {}


def test_a_network_is_a_bridge_with_the_gateways_address(front):
    [bridge] = wanted(state(front)).network(front).values()
    assert bridge == Bridge(
        name=f"nd-{front.id[:12]}", addresses=(IPv4Interface("10.1.0.1/16"),), mtu=1500, localnet=True
    )


def test_options_of_a_bridge_reach_facts_and_rules():
    options = {
        "com.docker.network.bridge.name": "mine",
        "com.docker.network.driver.mtu": "1400",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
    }
    found = network("n", internal=True, options=options, adopted=True)
    [bridge] = wanted(state(found)).network(found).values()
    assert (bridge.name, bridge.mtu, bridge.localnet, bridge.owned) == ("mine", 1400, True, False)
    assert wanted(state(found)).rules(found) == BridgeRules(
        name="mine", subnets=(found.pools[0].subnet,), internal=True, ipv4=Treatment(masquerade=False)
    )


def test_the_ruleset_is_all_bridges_and_all_published_ports(front, back):
    web = sandbox("web", endpoint(front, 2), publications=(publication(8080, 80, 3),))
    db = sandbox("db", endpoint(back, 2))
    rules = wanted(state(front, back, sandboxes=[web, db])).ruleset()
    assert {rule.name for rule in rules.bridges} == {f"nd-{front.id[:12]}", f"nd-{back.id[:12]}"}
    assert rules.published == {
        Published("tcp", IPv4Address("0.0.0.0"), 8080, IPv4Address("10.1.0.2"), 80, 3),
    }


def test_the_way_out_is_by_priority_then_outside_then_name(front, back):
    inside = network("aaa", "10.3.0.0/16", internal=True)
    made = state(front, back, inside)

    def order(*endpoints):
        return [where.name for _, where in by_priority(made, sandbox("x", *endpoints))]

    assert order(endpoint(front, 2), endpoint(inside, 2), endpoint(back, 2)) == ["back", "front", "aaa"]
    assert order(endpoint(front, 2, gw_priority=1), endpoint(back, 2)) == ["front", "back"]
    only_inside = sandbox("x", endpoint(inside, 2, gw_priority=9))
    assert egress_endpoint(made, only_inside, 4) is None
    both = sandbox("x", endpoint(inside, 2, gw_priority=9), endpoint(back, 3))
    assert egress_endpoint(made, both, 4)[1] is back


def test_published_ports_lead_to_the_way_out(front, back):
    both = sandbox("web", endpoint(front, 2), endpoint(back, 3), publications=(publication(8080, 80),))
    [published] = wanted(state(front, back)).published(both)
    assert published.target == IPv4Address("10.2.0.3")


def test_endpoints_are_found_by_all_names_and_by_address(front):
    names = NetworkNames(front)
    web = sandbox("Web", endpoint(front, 2, aliases=["www"]), hostname="host1")
    patch = names.update(None, web)
    assert dict(patch.names) == {name: ("10.1.0.2",) for name in ("web", "www", web.id[:12], "host1")}
    assert dict(patch.pointers) == {"10.1.0.2": "Web.front"}
    assert names.records().subnets == ("10.1.0.0/16",)


def test_a_shared_alias_has_all_addresses_and_loses_those_that_leave(front):
    names = NetworkNames(front)
    members = [sandbox(f"c{n}", endpoint(front, n, aliases=["db"])) for n in (2, 3, 4)]
    for member in members:
        names.update(None, member)
    assert names.records().names["db"] == ("10.1.0.2", "10.1.0.3", "10.1.0.4")
    patch = names.update(members[1], None)
    assert patch.names["db"] == ("10.1.0.2", "10.1.0.4") and patch.names["c3"] == ()
    assert patch.pointers == {"10.1.0.3": ""}
    for member in (members[0], members[2]):
        names.update(member, None)
    assert names.records().names == {} and names.records().pointers == {}


def test_a_rename_changes_the_old_and_the_new_name_only(front):
    names = NetworkNames(front)
    before = sandbox("old", endpoint(front, 2), id="a" * 64)
    after = sandbox("new", before.endpoints[0], id="a" * 64)
    names.update(None, before)
    patch = names.update(before, after)
    assert dict(patch.names) == {"old": (), "new": ("10.1.0.2",)}
    assert dict(patch.pointers) == {"10.1.0.2": "new.front"}
    assert names.update(after, after) is None


def test_exposed_and_published_ports_are_services_by_number_and_by_alias(front):
    names = NetworkNames(front)
    web = sandbox(
        "web",
        endpoint(front, 2, aliases=["_http._tcp", "_void._udp", "*.app"]),
        id="a" * 64,
        hostname="web",
        exposed=("80/tcp", "81/tcp", "90/tcp", "53/sctp"),
        port_requests=(PortRequest(protocol="tcp", target=82, count=3),),
    )
    patch = names.update(None, web)
    assert set(patch.names) == {"web", "a" * 12, "*.app"}, "a service name has no address"
    tcp = (Service("web.front", 80, 5), Service("web.front", 90, 1))
    for name in ("_http._tcp", "_http._tcp.web", "_tcp.web", f"_tcp.{'a' * 12}"):
        assert patch.services[name] == tcp
    assert patch.services["_sctp.web"] == (Service("web.front", 53, 1),)
    assert patch.services["_void._udp"] == (Service("web.front", 0, 0),), "the name exists without an address"
    assert not [name for name in patch.services if "*" in name]
    other = sandbox("x", endpoint(front, 3, aliases=["_http._tcp"]), exposed=("80/tcp",))
    assert names.update(None, other).services["_http._tcp"] == (*tcp, Service("x.front", 80, 1))
    assert names.update(web, None).services["_http._tcp"] == (Service("x.front", 80, 1),)
    names.update(other, None)
    assert names.records().services == {}


def test_the_host_is_found_on_the_way_out_else_on_a_bridge(front, back):
    inside = network("aaa", "10.3.0.0/24", internal=True)
    made = state(front, back, inside)
    assert [str(gateway) for gateway in gateways(made, sandbox("x", endpoint(inside, 2)))] == ["10.3.0.1"]
    both = sandbox("x", endpoint(inside, 2), endpoint(front, 2), endpoint(back, 2, gw_priority=5))
    assert [str(gateway) for gateway in gateways(made, both)] == ["10.2.0.1"]
    assert gateways(made, sandbox("x")) == ()


def test_names_are_compared_without_case():
    assert fold("WEB.") == "web"


def test_ports_are_shown_one_by_one_and_exposed_ones_as_null(front):
    web = sandbox(
        "web",
        endpoint(front, 2),
        exposed=("80/tcp", "81/tcp", "90/tcp"),
        publications=(publication(8080, 80, 2), publication(1080, 80, address="127.0.0.1")),
    )
    assert network_settings.ports(web) == {
        "80/tcp": [PortBinding("0.0.0.0", "8080"), PortBinding("127.0.0.1", "1080")],
        "81/tcp": [PortBinding("0.0.0.0", "8081")],
        "90/tcp": None,
    }


def test_a_container_off_all_networks_shows_no_ports():
    assert network_settings.ports(sandbox("web", exposed=("80/tcp",))) == {}


def test_settings_are_what_was_asked_for_and_what_came_of_it(front):
    web = sandbox("web", endpoint(front, 3, aliases=["w"], gw_priority=2), id="ab" * 32)
    found = network_settings.settings(state(front, sandboxes=[web]), web, Path("/run/x/netns/abab"))
    assert (found.sandbox_id, found.sandbox_key) == (web.id, "/run/x/netns/abab")
    entry = found.networks["front"]
    assert (entry.ip_address, entry.ip_prefix_len, entry.gateway) == ("10.1.0.3", 16, "10.1.0.1")
    assert (entry.mac_address, entry.aliases, entry.gw_priority) == ("02:42:0a:01:00:03", ["w"], 2)
    assert entry.network_id == front.id and entry.endpoint_id == web.endpoints[0].id
    assert entry.dns_names == ["web", "w", web.id[:12]]
