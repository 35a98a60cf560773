"""Facts and rules of bridge networks by their options, and refusals of invalid options in Docker's words."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest
from msgspec.structs import replace

from netd.common.errors import BadRequest, ServerError
from netd.drivers.bridge import BridgeDriver
from netd.drivers.registry import discover
from netd.engine.desired_state import DesiredState
from netd.engine.state import routed_ports
from netd.engine.state.routes import egress_endpoint
from netd.engine.views import network_settings
from netd.ipam.pool_spec import make_pool
from netd.model import NetworkSpec, Pool, PoolSpec, PortRequest
from netd.portmap.rules import GatewayMode, Opened, Treatment
from tests.unit.builders import endpoint, network, publication, sandbox, state

D = "com.docker.network."
B = D + "bridge."
V6 = IPv6Network("fd00:1::/64")


def check(internal=False, pools=(), **options):
    spec = NetworkSpec(name="n", internal=internal, pools=pools, options=options)
    BridgeDriver().validate(spec)
    return spec


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({B + "gateway_mode_ipv4": "zork"}, BadRequest, "gateway_mode_ipv4 value: zork (unknown gateway mode zork)"),
        ({B + "gateway_mode_ipv6": "isolated"}, ServerError, "'isolated' can only be used for an internal network"),
        ({D + "advertise_addr_nmsgs": "4"}, ServerError, "advertise_addr_nmsgs must be in the range 0 to 3"),
        ({D + "advertise_addr_ms": "99"}, ServerError, "advertise_addr_ms must be in the range 100 to 2000"),
        ({D + "advertise_addr_ms": "soon"}, BadRequest, "value: soon"),
        ({D + "host_ipv4": "fd00::1"}, BadRequest, "host_ipv4 value: fd00::1 (it is not an IPv4 address)"),
        ({D + "host_ipv6": "192.0.2.1"}, BadRequest, "host_ipv6 value: 192.0.2.1 (it is not an IPv6 address)"),
        ({D + "container_iface_prefix": "a/b"}, BadRequest, "value: a/b"),
        ({D + "container_iface_prefix": "x" * 13}, BadRequest, "up to 12 characters"),
        ({B + "enable_icc": "maybe"}, BadRequest, "value: maybe"),
        ({B + "inhibit_ipv4": "maybe"}, BadRequest, "value: maybe"),
        ({B + "trusted_host_interfaces": "eth0:a b"}, BadRequest, "'a b' is not the name of a link"),
        ({B + "default_bridge": "true"}, BadRequest, "default_bridge is not an option of bridge networks"),
        ({D + "enable_ipv6": "maybe"}, BadRequest, "value: maybe"),
    ],
)
def test_invalid_options_are_refused(options, kind, words):
    with pytest.raises(kind) as refused:
        check(**options)
    assert words in refused.value.message and refused.value.status == kind.status


def test_a_gateway_cannot_be_chosen_on_an_internal_network():
    pools = (PoolSpec(IPv4Network("10.0.0.0/24"), auxiliary={"DefaultGatewayIPv4": IPv4Address("10.0.0.9")}),)
    check(pools=pools)
    with pytest.raises(BadRequest, match="no gateway can be set on an internal bridge network"):
        check(internal=True, pools=pools)


def dual(internal=False, **options):
    made = network("n", internal=internal, options=options)
    return replace(made, ipv6=True, pools=(*made.pools, Pool(V6, V6[1])))


def facts(on):
    [bridge] = DesiredState(state(on), discover()).network(on).values()
    return bridge


def rules(on):
    return BridgeDriver().rules(on)


def test_a_network_of_both_families_has_both_gateways_on_its_bridge():
    assert facts(dual()).addresses == (IPv4Interface("10.0.0.1/24"), IPv6Interface("fd00:1::1/64"))
    assert rules(dual()).ipv4 == rules(dual()).ipv6 == Treatment()


def test_gateway_modes_are_set_per_family():
    on = dual(**{B + "gateway_mode_ipv4": "nat-unprotected", B + "gateway_mode_ipv6": "routed"})
    assert rules(on).ipv4 == Treatment(mode=GatewayMode.UNPROTECTED)
    assert rules(on).ipv6 == Treatment(mode=GatewayMode.ROUTED, masquerade=False)
    assert len(facts(on).addresses) == 2


def test_source_address_trusted_links_and_isolation_reach_the_rules():
    on = dual(
        **{
            D + "host_ipv4": "198.51.100.7",
            D + "host_ipv6": "2001:db8::7",
            B + "trusted_host_interfaces": "eth0:eth1",
            B + "enable_icc": "false",
        }
    )
    assert rules(on).ipv4.source == IPv4Address("198.51.100.7")
    assert rules(on).ipv6.source == IPv6Address("2001:db8::7")
    assert rules(on).trusted == ("eth0", "eth1") and rules(on).isolated
    web = sandbox("web", endpoint(on, 2))
    [pair] = BridgeDriver().endpoint_facts(on, web, web.endpoints[0])
    assert pair.isolated


def test_an_isolated_network_has_no_address_on_the_host_and_no_gateway():
    options = {B + "gateway_mode_ipv4": "isolated"}
    spec = check(internal=True, **options)
    driver = BridgeDriver()
    assert (driver.has_gateway(spec, 4), driver.has_gateway(spec, 6)) == (False, True)
    pool = make_pool(PoolSpec(), IPv4Network("10.0.0.0/24"), has_gateway=False)
    assert pool.gateway is None
    assert facts(dual(internal=True, **options)).addresses == (IPv6Interface("fd00:1::1/64"),)


@pytest.mark.parametrize(("internal", "reserved"), [(False, True), (True, False)])
def test_an_inhibited_bridge_does_not_get_the_gateway_address(internal, reserved):
    spec = check(internal=internal, **{B + "inhibit_ipv4": "true"})
    assert BridgeDriver().has_gateway(spec, 4) is reserved
    assert facts(network("n", internal=internal, options=spec.options)).addresses == ()


def test_the_mtu_is_the_option_or_the_hosts_or_1500():
    assert facts(network("n")).mtu == 1500
    assert facts(network("n", mtu=1400)).mtu == 1400
    assert facts(network("n", mtu=1400, options={D + "driver.mtu": "1300"})).mtu == 1300


@pytest.mark.parametrize(
    ("text", "binding"),
    [
        ("", ("0.0.0.0", "::")),
        ("0.0.0.0", ("0.0.0.0", "::")),
        ("::", ("::",)),
        ("192.0.2.1", ("192.0.2.1",)),
        ("::1", ("::1",)),
    ],
)
def test_where_ports_are_published(text, binding):
    on = network("n", options={B + "host_binding_ipv4": text})
    assert tuple(map(str, BridgeDriver().binding_addresses(on))) == binding


def port_request(target, *addresses, **kwargs):
    return PortRequest(protocol="tcp", target=target, addresses=addresses or (None,), **kwargs)


def test_ports_of_a_routed_network_are_opened_without_its_default_route():
    outward = network("aaa", "10.9.0.0/24")
    on = network("n", options={B + "gateway_mode_ipv4": "routed"})
    port_requests = (
        port_request(80, port=8080),
        port_request(81, IPv6Address("::")),
        port_request(82, allow=(IPv4Network("192.0.2.0/24"),)),
    )
    web = sandbox("web", endpoint(outward, 2), endpoint(on, 2), port_requests=port_requests)
    made = state(outward, on, sandboxes=[web])
    assert egress_endpoint(made, web, 4)[1] is outward
    office = (IPv4Network("192.0.2.0/24"),)
    opened = {Opened("tcp", IPv4Address("10.0.0.2"), 80), Opened("tcp", IPv4Address("10.0.0.2"), 82, allow=office)}
    assert DesiredState(made, discover()).opened(web) == opened == DesiredState(made, discover()).ruleset().opened


def test_ports_of_a_routed_default_network_have_no_host_port():
    on = network("n", options={B + "gateway_mode_ipv4": "routed"})
    web = sandbox(
        "web", endpoint(on, 2), port_requests=(port_request(80, port=8080), port_request(81, IPv4Address("192.0.2.1")))
    )
    made = state(on, sandboxes=[web])
    found = routed_ports.publications(made, discover(), web)
    web = replace(web, publications=found)
    assert {
        key: [(binding.host_ip, binding.host_port) for binding in there]
        for key, there in network_settings.ports(web).items()
    } == {
        "80/tcp": [("0.0.0.0", "")],
        "81/tcp": [("192.0.2.1", "")],
    }
    assert DesiredState(made, discover()).published(web) == frozenset()


def test_an_internal_network_opens_nothing():
    on = network("n", internal=True, options={B + "gateway_mode_ipv4": "routed"})
    web = sandbox("web", endpoint(on, 2), port_requests=(port_request(80),), publications=(publication(0, 80),))
    assert DesiredState(state(on, sandboxes=[web]), discover()).opened(web) == frozenset()
