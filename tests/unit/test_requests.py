"""Parsing of requests, allocation of endpoints, lookup of networks, and the messages of refusals."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from msgspec.structs import replace

from netd.api import EndpointSettings, IPAMConfig, PortBinding, SandboxRequest
from netd.common.errors import BadRequest, Forbidden, NotFound, ServerError
from netd.common.filters import parse
from netd.common.store.store import Put
from netd.drivers.bridge import BridgeDriver
from netd.drivers.host import HostDriver
from netd.drivers.macvlan import MacvlanDriver
from netd.drivers.options import without_effect
from netd.engine.change import allocation
from netd.engine.networks import network_filters
from netd.engine.networks.actions import check_name
from netd.engine.state import sandbox_request
from netd.engine.state.address_history import AddressHistory
from netd.facts import Bridge
from netd.model import NetworkSpec, Pool, Reservation
from netd.server.shapes import CreateJson, IpamJson, PoolJson, spec
from tests.unit.builders import endpoint, network, sandbox, state

ID = "ab" * 32


def request(**kwargs):
    return SandboxRequest(**{"id": ID, "name": "web", **kwargs})


def test_a_request_is_read_into_a_record():
    found = sandbox_request.read(
        request(
            exposed_ports=["80/tcp"],
            publish_all_ports=True,
            extra_hosts=["db:1.2.3.4", "gw:host-gateway", "six:[::1]"],
            links=["/other:/web/alias", "plain"],
            sysctls={"net.ipv4.ip_unprivileged_port_start": "0"},
            dns=["192.0.2.9"],
        )
    )
    assert (found.name, found.hostname, found.exposed) == ("web", ID[:12], ("80/tcp",))
    assert [port_request.target for port_request in found.port_requests] == [80]
    assert found.extra_hosts == (("db", "1.2.3.4"), ("gw", "host-gateway"), ("six", "::1"))
    assert found.links == {"alias": "other", "plain": "plain"}
    assert found.sysctls == {"net.ipv4.ip_unprivileged_port_start": "0"}


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"id": "x"}, '"x"'),
        ({"id": "../" + ID[3:]}, "64 hexadecimal digits"),
        ({"name": "a/b"}, "a/b"),
        ({"name": ""}, "invalid container name"),
        ({"hostname": "a b"}, "'a b'"),
        ({"hostname": "x" * 65}, "too long (maximum 64 bytes)"),
        ({"dns": ["zork"]}, '"zork" is not an IP address'),
        ({"dns_search": ["a\nnameserver 6.6.6.6"]}, "line breaks"),
        ({"dns_options": ["a b"]}, "'a b'"),
        ({"extra_hosts": ["a"]}, 'bad format for add-host: "a"'),
        ({"extra_hosts": ["a\tb:1.2.3.4"]}, "bad format for add-host"),
        ({"port_bindings": {"80/tcp": [PortBinding(host_ip="[fe80::1]", host_port="8706")]}}, "link-local"),
        ({"extra_hosts": ["a:zork"]}, '"zork"'),
        ({"links": ["a b:c"]}, "a b:c"),
        ({"sysctls": {"kernel.shmmax": "1"}}, "kernel.shmmax"),
        ({"sysctls": {"net.ipv4.conf.eth0.forwarding": "1"}}, "net.ipv4.conf.eth0.forwarding"),
        ({"sysctls": {"net/../kernel/x": "1"}}, "net/../kernel/x"),
    ],
)
def test_invalid_fields_are_named_in_the_refusal(kwargs, words):
    with pytest.raises(BadRequest) as refused:
        sandbox_request.read(request(**kwargs))
    assert words in refused.value.message


def test_the_network_mode_applies_if_no_networks_are_given():
    assert list(sandbox_request.networks(request())) == ["bridge"]
    assert list(sandbox_request.networks(request(network_mode="host"))) == ["host"]
    assert list(sandbox_request.networks(request(network_mode="a", networks={"b": EndpointSettings()}))) == ["b"]
    both = {"b": EndpointSettings(), "default": EndpointSettings()}
    assert list(sandbox_request.networks(request(network_mode="bridge", networks=both))) == ["bridge", "b"]


def join(made, on, who, **kwargs):
    return allocation.allocate_endpoint(made, who, on, BridgeDriver(), EndpointSettings(**kwargs))


def test_an_endpoint_gets_an_unused_address_or_its_former_one():
    on = network("n", "172.17.0.0/16")
    made = state(on)
    first = join(made, on, sandbox("a"))
    assert (str(first.address), first.mac, first.interface) == ("172.17.0.2/16", "02:42:ac:11:00:02", "eth0")
    assert str(first.gateway) == "172.17.0.1"
    assert str(join(made, on, sandbox("b")).address) == "172.17.0.3/16"
    allocation.release(made, [first])
    assert str(join(made, on, sandbox("c")).address) == "172.17.0.4/16"
    made.address_history.record("a", [first])
    assert str(join(made, on, sandbox("a")).address) == "172.17.0.2/16"
    assert str(join(made, on, sandbox("a")).address) == "172.17.0.5/16"


def test_interfaces_are_numbered_from_the_lowest_free_one():
    lower, two = network("one"), network("two", "10.2.0.0/24")
    made = state(lower, two)
    custom = {"com.docker.network.endpoint.ifname": "eth0"}
    first = join(made, lower, sandbox("a"), driver_opts=custom)
    assert join(made, two, sandbox("a", first)).interface == "eth1"
    with pytest.raises(BadRequest, match="eth0 is taken"):
        join(made, two, sandbox("a", first), driver_opts=custom)


def test_requested_settings_are_kept_and_copied_operational_data_is_not():
    on = network("n")
    settings = {"aliases": ["x"], "mac_address": "02-AA-bb-cc-dd-ee", "ip_address": "9.9.9.9", "network_id": "old"}
    found = join(state(on), on, sandbox("a"), **settings)
    assert found.mac == "02:aa:bb:cc:dd:ee"
    assert (found.settings.aliases, found.settings.ip_address, found.settings.network_id) == (["x"], "", "")


def test_a_derived_mac_is_never_one_that_a_container_has_or_was_given():
    on = network("n")
    given = join(state(on), on, sandbox("given"), mac_address="02:42:0a:00:00:02")
    holder = sandbox("given", given)
    made = state(on, sandboxes=[holder])
    first = join(made, on, sandbox("a"))
    assert str(first.address) == "10.0.0.2/24" and first.mac != given.mac and first.mac.startswith("02:42:")
    made.put_reservation(Reservation(id="stopped", name="s", addresses={}, macs={on.id: "02:42:0a:00:00:03"}))
    assert join(made, on, sandbox("b")).mac != "02:42:0a:00:00:03"
    made.drop_sandbox(holder.id)
    made.drop_reservation("stopped")
    assert join(made, on, sandbox("c")).mac == "02:42:0a:00:00:04"
    assert not made.has_mac(on.id, "02:42:0a:00:00:03") and not made.has_mac(on.id, given.mac)


def test_a_given_mac_that_was_derived_for_another_container_or_the_gateway_is_refused():
    on = network("n")
    running = join(state(on), on, sandbox("a"))
    made = state(on, sandboxes=[sandbox("a", running)])
    with pytest.raises(Forbidden, match="already in use by container a on network n"):
        join(made, on, sandbox("b"), mac_address=running.mac)
    with pytest.raises(Forbidden, match="that of the gateway"):
        join(made, on, sandbox("b"), mac_address="02:42:0a:00:00:01")
    twice = join(made, on, sandbox("b"), mac_address="02:00:00:00:00:01")
    made.put_sandbox(sandbox("b", twice))
    assert join(made, on, sandbox("c"), mac_address=twice.mac).mac == twice.mac


def test_the_mac_of_the_bridge_of_a_network_without_ipv4_is_refused():
    pool = Pool(IPv6Network("fd00:10::/64"), IPv6Address("fd00:10::1"))
    on = replace(network("n", ipv4=False, ipv6=True), pools=(pool,))
    [bridge] = BridgeDriver().network_facts(on)
    assert isinstance(bridge, Bridge)
    with pytest.raises(Forbidden, match="that of the gateway"):
        allocation.check_gateway_mac(on, BridgeDriver(), EndpointSettings(mac_address=bridge.mac.upper()))


def test_an_address_is_announced_only_if_neighbours_may_know_or_look_for_it():
    on, joined = network("n"), network("joined", "10.1.0.0/24", segments=2)
    made = state(on, joined)
    fresh = join(made, on, sandbox("a"))
    assert not fresh.announce
    assert join(made, joined, sandbox("a")).announce
    assert join(made, on, sandbox("b"), mac_address="02:00:00:00:00:01").announce
    assert join(made, on, sandbox("c"), **static("10.0.0.77")).announce
    holder = sandbox("a", fresh)
    made.put_sandbox(holder)
    made.drop_sandbox(holder.id)
    allocation.release(made, [fresh])
    made.address_history.record("a", [fresh])
    again = join(made, on, sandbox("a"))
    assert again.address == fresh.address and again.announce
    assert not join(made, on, sandbox("d")).announce


def test_internal_networks_and_host_mode_have_no_gateway():
    inside = network("n", internal=True)
    assert join(state(inside), inside, sandbox("a")).gateway is None
    host = network("host")
    found = allocation.allocate_endpoint(state(host), sandbox("a"), host, HostDriver(), EndpointSettings())
    assert (found.interface, found.mac, found.address) == ("", "", None)


def static(address):
    return {"ipam_config": IPAMConfig(ipv4_address=address)}


@pytest.mark.parametrize(
    ("kwargs", "kind", "words"),
    [
        (static("10.0.0.9"), Forbidden, "10.0.0.9 is held by container holder"),
        (static("10.0.0.1"), Forbidden, "10.0.0.1 is the gateway of network n"),
        (static("10.0.0.0"), Forbidden, "Address already in use"),
        (static("10.0.0.255"), Forbidden, "Address already in use"),
        (static("10.9.0.1"), BadRequest, "network n has 10.0.0.0/24"),
        (static("0.0.0.0"), BadRequest, "invalid IPv4 address: 0.0.0.0"),
        (static("zork"), BadRequest, "invalid IPv4 address: zork"),
        ({"ipam_config": IPAMConfig(ipv6_address="fd00::1")}, BadRequest, "network n has no IPv6"),
        ({"ipam_config": IPAMConfig(link_local_ips=["169.254.1.1"])}, BadRequest, "169.254.1.1"),
        ({"mac_address": "zork"}, BadRequest, "address zork: invalid MAC address"),
        ({"mac_address": "01:00:5e:00:00:01"}, BadRequest, "invalid MAC address"),
        ({"aliases": ["a b"]}, BadRequest, "'a b'"),
        *(
            ({"aliases": [alias]}, BadRequest, "as in *.app")
            for alias in ("*", "*.", "a.*", "*a", "**.a", "*.*", "a*b")
        ),
        ({"links": ["a b"]}, BadRequest, "a b"),
        ({"driver_opts": {"com.docker.network.endpoint.sysctls": "x"}}, BadRequest, "interface sysctl 'x'"),
        ({"driver_opts": {"com.docker.network.endpoint.ifname": "a/b"}}, BadRequest, "a/b"),
    ],
)
def test_refused_endpoints_allocate_nothing(kwargs, kind, words):
    on = network("n")
    holder = sandbox("holder", endpoint(on, 9))
    made = state(on, sandboxes=[holder])
    made.addresses(on.id, 4)[0].take(holder.endpoints[0].address.ip, holder.id)
    with pytest.raises(kind) as refused:
        join(made, on, sandbox("a"), **kwargs)
    assert words in refused.value.message
    assert str(join(made, on, sandbox("a")).address) == "10.0.0.2/24"


def test_an_alias_may_be_a_wildcard_or_a_service():
    on = network("n")
    aliases = ["*.app", "*.a.b", "_http._tcp", "web"]
    assert join(state(on), on, sandbox("a"), aliases=aliases).settings.aliases == aliases


def test_addresses_and_aliases_need_a_user_defined_network():
    bridge = network("bridge")
    for kwargs in (static("10.0.0.9"), {"aliases": ["x"]}):
        with pytest.raises(BadRequest, match="defined networks"):
            join(state(bridge), bridge, sandbox("a"), **kwargs)


def test_a_full_network_is_named_in_the_refusal():
    on = network("n", "10.0.0.0/30")
    made = state(on)
    join(made, on, sandbox("a"))
    with pytest.raises(ServerError, match="no available IPv4 addresses on this network's address pools: n"):
        join(made, on, sandbox("b"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"com.docker.network.bridge.nosuch": "1"}, "com.docker.network.bridge.nosuch"),
        ({"com.docker.network.driver.mtu": "many"}, "value: many"),
        ({"com.docker.network.driver.mtu": "-1"}, "invalid MTU number: -1"),
        ({"com.docker.network.bridge.name": "a b"}, "value: a b"),
        ({"com.docker.network.bridge.name": "x" * 16}, "up to 15"),
        ({"com.docker.network.bridge.enable_ip_masquerade": "maybe"}, "value: maybe"),
        ({"com.docker.network.bridge.host_binding_ipv4": "zork"}, "value: zork"),
    ],
)
def test_options_without_effect_are_refused(options, words):
    with pytest.raises(BadRequest) as refused:
        BridgeDriver().validate(NetworkSpec(name="n", options=options))
    assert words in refused.value.message


def test_options_of_other_programs_are_kept_and_have_no_effect():
    options = {
        "org.example.other": "x",
        "isolate": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.driver.mtu": "",
    }
    BridgeDriver().validate(NetworkSpec(name="n", options=options))


def test_a_create_body_is_read_as_docker_does():
    body = CreateJson(
        name="n",
        driver="",
        enable_ipv6=False,
        options={"com.docker.network.enable_ipv6": "true", "a": "b"},
        ipam=IpamJson(config=[PoolJson(subnet="10.1.0.0/16", gateway=""), PoolJson()]),
    )
    found = spec(body)
    assert (found.driver, found.options, [str(pool.subnet) for pool in found.pools]) == (
        "bridge",
        {"a": "b"},
        ["10.1.0.0/16"],
    )
    assert found.pools[0].gateway is None


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"ingress": True}, "Ingress"),
        ({"scope": "swarm"}, "swarm"),
    ],
)
def test_unsupported_features_are_named_in_the_refusal(kwargs, words):
    with pytest.raises((BadRequest, Forbidden)) as refused:
        spec(CreateJson(name="n", **kwargs))
    assert words in refused.value.message


@pytest.mark.parametrize("name", ["x" * 4097, "a\nb", "a\n", ""])
def test_invalid_names_are_refused(name):
    with pytest.raises(BadRequest) as refused:
        check_name(name)
    assert "name" in refused.value.message and "\n" not in refused.value.message


@pytest.mark.parametrize("name", ["bridge", "host", "none", "default"])
def test_reserved_names_are_refused(name):
    with pytest.raises(Forbidden, match=f"operation is not permitted on predefined {name} network"):
        check_name(name)


def test_a_network_is_found_by_id_then_name_then_start_of_the_id():
    other = network("one", id="a1" + "0" * 62)
    named = network("a1" + "0" * 62, "10.2.0.0/24", id="b" * 64)
    prefix = network("a1", "10.3.0.0/24", id="c" * 64)
    made = state(other, named, prefix)
    assert made.find_network("a1" + "0" * 62) is other
    assert made.find_network("a1") is prefix
    assert made.find_network("a10") is other
    with pytest.raises(NotFound, match="network nosuch not found"):
        made.find_network("nosuch")
    made.put_network(network("x", "10.4.0.0/24", id="a2" + "0" * 62))
    with pytest.raises(BadRequest, match="network a is ambiguous"):
        made.find_network("a")


def test_a_container_is_found_with_or_without_the_slash():
    made = state(sandboxes=[sandbox("web", id="ab" * 32), sandbox("db", id="ac" * 32)])
    assert made.find_sandbox("/web").name == "web" == made.find_sandbox("ab").name
    with pytest.raises(BadRequest, match="multiple IDs found with provided prefix: a"):
        made.find_sandbox("a")
    with pytest.raises(NotFound, match="No such container: x"):
        made.find_sandbox("x")
    with pytest.raises(BadRequest, match='invalid name or ID supplied: ""'):
        made.find_sandbox("")


def listed(made, text):
    return {network_.name for network_ in network_filters.listed(made, parse(text, network_filters.LIST_FILTERS))}


def test_list_filters():
    used = network("h1_a", id="a" * 64, labels={"k": "v"})
    free = network("xh1_a", "10.2.0.0/24", id="0123" + "f" * 60)
    made = state(network("bridge", "10.3.0.0/24", id="b" * 64), used, free, sandboxes=[sandbox("c", endpoint(used, 2))])
    assert listed(made, '{"name":["^h1_a"]}') == {"h1_a"}
    assert listed(made, '{"name":{"h1_a":true}}') == {"h1_a", "xh1_a"}
    assert listed(made, '{"name":["("]}') == set()
    assert listed(made, '{"id":["23f"]}') == {"xh1_a"}
    assert listed(made, '{"label":["k=v"]}') == {"h1_a"}
    assert listed(made, '{"type":["builtin"]}') == {"bridge"}
    assert listed(made, '{"dangling":["true"]}') == {"xh1_a"}
    assert listed(made, '{"dangling":["0"]}') == {"bridge", "h1_a"}
    assert listed(made, '{"driver":["bridge"],"scope":["local"]}') == {"bridge", "h1_a", "xh1_a"}
    assert listed(made, '{"scope":["swarm"]}') == set()
    with pytest.raises(ServerError, match="invalid filter: 'type'='x'"):
        listed(made, '{"type":["x"]}')


def test_prune_filters():
    old = network("old", labels={"keep": ""})
    made = state(old, network("new", "10.2.0.0/24"))

    def pruned(text):
        return {
            network_.name for network_ in network_filters.prunable(made, parse(text, network_filters.PRUNE_FILTERS))
        }

    assert pruned("") == {"old", "new"}
    assert pruned('{"label!":["keep"]}') == {"new"}
    assert pruned('{"label":["keep"]}') == {"old"}
    assert pruned('{"until":["1h"]}') == set()
    assert pruned('{"until":["2100-01-01T00:00:00Z"]}') == {"old", "new"}
    for text in ("zork", "", "99999999999999999999"):
        with pytest.raises(BadRequest, match="failed to parse value as time or duration"):
            pruned(f'{{"until":["{text}"]}}')


def reservation(on, name, address, id="f" * 64):
    return Reservation(id=id, name=name, addresses={on.id: (IPv4Address(address),)})


def test_a_declared_address_is_refused_to_others_by_the_name_of_its_holder():
    on = network("n")
    made = state(on)
    made.put_reservation(reservation(on, "db", "10.0.0.2"))
    assert str(join(made, on, sandbox("a")).address) == "10.0.0.3/24"
    with pytest.raises(Forbidden, match=r"Address already in use: 10.0.0.2 is kept for container db"):
        join(made, on, sandbox("b"), **static("10.0.0.2"))
    assert str(join(made, on, sandbox("db", id="f" * 64), **static("10.0.0.2")).address) == "10.0.0.2/24"


def test_a_reservation_is_replaced_completely_and_kept_when_its_network_is_updated():
    on = network("n")
    made = state(on)
    made.put_reservation(reservation(on, "db", "10.0.0.2"))
    made.put_reservation(reservation(on, "db", "10.0.0.3"))
    assert str(join(made, on, sandbox("a")).address) == "10.0.0.4/24"
    made.drop_network(on)
    made.put_network(on)
    assert [str(join(made, on, sandbox(name)).address) for name in "ab"] == ["10.0.0.2/24", "10.0.0.4/24"]
    assert made.drop_reservation("f" * 64) and not made.drop_reservation("f" * 64)
    join(made, on, sandbox("c"), **static("10.0.0.3"))


def test_the_address_history_is_bounded_in_memory_and_store():
    on = network("n")
    address_history, stored = AddressHistory(most=3), {}
    for number in range(2, 8):
        for change in address_history.record(f"c{number % 5}", [endpoint(on, number)]):
            if isinstance(change, Put):
                assert change.id not in stored
                stored[change.id] = change.value
            else:
                stored.pop(change.id, None)
    assert list(stored.values()) == list(address_history.all) and len(stored) == 3
    again = AddressHistory()
    again.restore(stored.values())
    assert again.last_addresses(on.id, "c1") == (IPv4Address("10.0.0.6"),) and again.last_addresses(on.id, "c3") == ()
    assert len(again.delete_network(on.id)) == 3 and again.all == ()


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        (BridgeDriver(), {"mtu": "9000"}, "did you mean com.docker.network.driver.mtu?"),
        (BridgeDriver(), {"netd.gaurd": "false"}, "did you mean netd.guard?"),
        (BridgeDriver(), {"foo": "bar"}, "option foo is not an option of bridge networks; remove it"),
        (MacvlanDriver(), {"parent": "eth0", "macvlan-mode": "bridge"}, "did you mean macvlan_mode?"),
    ],
)
def test_unknown_options_are_refused_with_the_nearest_name(driver, options, words):
    with pytest.raises(BadRequest) as refused:
        driver.validate(NetworkSpec(name="n", options=options))
    assert words in refused.value.message


def test_options_of_other_programs_are_warned_of():
    assert without_effect("bridge", {"org.example.x": "1", "isolate": "true", "netd.guard": "true"}) == [
        "option org.example.x has no effect on bridge networks of netd",
        "option isolate has no effect on bridge networks of netd",
    ]
    assert without_effect("a-plugin", {"isolate": "true"}) == []
