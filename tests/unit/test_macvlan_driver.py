"""Facts of macvlan networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from msgspec.structs import replace

from netd.drivers.macvlan import MacvlanDriver
from netd.drivers.registry import discover
from netd.engine.desired_state import DesiredState
from netd.facts import DefaultRoute, HostLink, HostRoute, Macvlan, MacvlanMode, Namespace
from netd.model import NetworkSpec, Pool
from tests.unit.builders import endpoint, network, sandbox, state

V6 = IPv6Network("fd00:1::/64")


def lan(**kwargs):
    options = {"parent": "eth1", **kwargs.pop("options", {})}
    return replace(network("lan", "198.51.100.0/24", options=options, **kwargs), driver="macvlan")


def facts(on, box):
    return list(DesiredState(state(on, sandboxes=[box]), discover()).sandbox(box).values())


def test_a_container_is_a_link_on_the_parent_with_the_router_as_gateway():
    on = lan(mtu=1400, options={"macvlan_mode": "private"})
    box = sandbox("web", endpoint(on, 9))
    assert facts(on, box) == [
        Namespace(sandbox=box.id),
        Macvlan(
            parent="eth1",
            mode=MacvlanMode.PRIVATE,
            sandbox=box.id,
            inside="eth9",
            mac="02:42:c6:33:64:09",
            addresses=(IPv4Interface("198.51.100.9/24"),),
            mtu=1400,
        ),
        DefaultRoute(sandbox=box.id, gateway=IPv4Address("198.51.100.1")),
    ]
    wanted = DesiredState(state(on, sandboxes=[box]), discover())
    assert (wanted.network(on), wanted.rules(on)) == ({}, None)


def test_the_hosts_own_link_has_single_addresses_and_routes_to_single_ones():
    on = lan(options={"netd.host_access": "true"})
    box = sandbox("web", endpoint(on, 9))
    name = f"ndm{on.id[:10]}"
    [link] = MacvlanDriver().network_facts(on)
    assert link == HostLink(name=name, parent="eth1", mac=link.mac, addresses=(), mtu=1500)
    assert link.mac == "02:42:" + bytes.fromhex(on.id[:8]).hex(":") and MacvlanDriver().device(on) == name
    assert [fact for fact in facts(on, box) if isinstance(fact, HostRoute)] == [
        HostRoute(link=name, destination=IPv4Network("198.51.100.9/32"))
    ]


def test_ipv6_needs_an_address_of_the_hosts_own():
    on = lan(options={"netd.host_access": "true"})
    both = replace(endpoint(on, 9), address6=IPv6Interface("fd00:1::9/64"))
    on = replace(on, ipv6=True, pools=(*on.pools, Pool(V6, V6[1])))
    box = sandbox("web", both)

    def routes(on):
        return [str(fact.destination) for fact in facts(on, box) if isinstance(fact, HostRoute)]

    assert routes(on) == ["198.51.100.9/32"]
    on = replace(on, pools=(on.pools[0], Pool(V6, V6[1], auxiliary={"host": V6[7]})))
    assert routes(on) == ["198.51.100.9/32", "fd00:1::9/128"]
    assert MacvlanDriver().network_facts(on)[0].addresses == (IPv6Interface("fd00:1::7/128"),)


def test_an_internal_network_sets_no_address_aside_for_a_router():
    given = {"parent": "eth1"}
    assert MacvlanDriver().has_gateway(NetworkSpec(name="n", options=given), 4)
    assert not MacvlanDriver().has_gateway(NetworkSpec(name="n", options=given, internal=True), 4)
