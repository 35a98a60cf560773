"""A remote network driver: every call of libnetwork's protocol, in order, and connectivity of its containers."""

import base64
from concurrent.futures import ThreadPoolExecutor

from tests.lab import reach
from tests.remote.plugin import joined

ND = "NetworkDriver."
RUN = [ND + "CreateEndpoint", ND + "Join", ND + "ProgramExternalConnectivity", ND + "EndpointOperInfo"]
STOP = [ND + "RevokeExternalConnectivity", ND + "Leave", ND + "DeleteEndpoint"]


def run(place, plugin, name, networks="n", **fields):
    """Start a container and wait for the last call to the driver."""
    before = len(plugin.bodies(ND + "EndpointOperInfo"))
    box = place.sandbox(name, networks, **fields)
    plugin.await_call(ND + "EndpointOperInfo", before + 1)
    return box


def test_the_order_of_calls_in_the_life_of_a_container(place, plugin):
    place.far()
    assert plugin.methods()[0] == "Plugin.Activate" and plugin.methods()[-1] == ND + "CreateNetwork"
    assert set(plugin.methods()[1:-1]) == {ND + "GetCapabilities"}
    seen = len(plugin.calls)
    box = run(place, plugin, "web")
    assert plugin.methods(seen) == RUN
    seen = len(plugin.calls)
    box.remove()
    assert plugin.methods(seen) == STOP
    again = run(place, plugin, "web")
    ids = [body["EndpointID"] for body in plugin.bodies(ND + "CreateEndpoint")]
    assert len(set(ids)) == 2
    again.remove()
    seen = len(plugin.calls)
    place.ask(204, "DELETE", "/networks/n")
    assert plugin.methods(seen) == [ND + "DeleteNetwork"]
    assert plugin.methods().count("Plugin.Activate") == 1


def test_what_the_driver_is_told_of_a_network(place, plugin):
    made = place.network(
        "n",
        Driver=place.driver,
        Internal=True,
        Options={"color": "blue", "com.docker.network.driver.mtu": "1400"},
        Labels={"not": "told"},
        IPAM={"Config": [{"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.9", "AuxiliaryAddresses": {"r": "10.1.0.7"}}]},
    )
    assert plugin.last(ND + "CreateNetwork") == {
        "NetworkID": made["Id"],
        "Options": {
            "com.docker.network.generic": {"color": "blue", "com.docker.network.driver.mtu": "1400"},
            "com.docker.network.enable_ipv4": True,
            "com.docker.network.enable_ipv6": False,
            "com.docker.network.internal": True,
        },
        "IPv4Data": [
            {
                "AddressSpace": "LocalDefault",
                "Pool": "10.1.0.0/24",
                "Gateway": "10.1.0.9/24",
                "AuxAddresses": {"r": "10.1.0.7/24"},
            }
        ],
        "IPv6Data": [],
    }
    assert (made["Driver"], made["Scope"]) == (place.driver, "local")


def test_what_the_driver_is_told_of_an_endpoint(place, plugin):
    made = place.far()
    wishes = {"n": {"MacAddress": "02:11:22:33:44:55", "DriverOpts": {"vlan": "7"}}}
    ports = {"80/tcp": [{"HostPort": "8080"}], "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "6000-6001"}]}
    box = run(place, plugin, "web", wishes, PortBindings=ports, ExposedPorts=["9/tcp"])
    asked = plugin.last(ND + "CreateEndpoint")
    mapped = [
        {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080},
        {"Proto": 17, "IP": "", "Port": 53, "HostIP": "127.0.0.1", "HostPort": 6000, "HostPortEnd": 6001},
    ]
    options = {
        "com.docker.network.portmap": mapped,
        "com.docker.network.endpoint.exposedports": [
            {"Proto": 6, "Port": 9},
            {"Proto": 6, "Port": 80},
            {"Proto": 17, "Port": 53},
        ],
    }
    mac = base64.b64encode(bytes.fromhex("021122334455")).decode()
    ids = {"NetworkID": made["Id"], "EndpointID": asked["EndpointID"]}
    assert asked == {
        **ids,
        "Interface": {"Address": "10.1.0.2/24", "AddressIPv6": "", "MacAddress": "02:11:22:33:44:55"},
        "Options": {**options, "vlan": "7", "com.docker.network.endpoint.macaddress": mac},
    }
    assert plugin.last(ND + "Join") == {**ids, "SandboxKey": box.view["Netns"], "Options": options}
    assert plugin.last(ND + "ProgramExternalConnectivity") == {**ids, "Options": options}
    assert box.node.mac("eth0") == "02:11:22:33:44:55"
    assert box.settings["Ports"] == {"53/udp": None, "80/tcp": None, "9/tcp": None}, (
        "the driver publishes the ports itself"
    )
    assert "8080" not in place.ruleset()


def test_containers_of_a_remote_network_reach_one_another_by_name(place, plugin):
    place.far()
    web, client = run(place, plugin, "web", {"n": {"Aliases": ["www"]}}), run(place, plugin, "client")
    place.lab.echo(web.node, 80)
    assert client.resolve("www") == ["10.1.0.2"] and client.gateway() == "10.1.0.1"
    assert reach(client.node, "10.1.0.2", 80) == "10.1.0.3"
    shown = client.settings["Networks"]["n"]
    assert (shown["IPAddress"], shown["Gateway"], shown["IPPrefixLen"]) == ("10.1.0.3", "10.1.0.1", 24)
    assert place.get("/networks/n")["Containers"][web.id]["IPv4Address"] == "10.1.0.2/24"
    web.remove()
    assert client.resolve("www") is None
    assert [link for link in place.machine.links() if link.startswith("rx")] == []


def test_the_link_comes_back_to_the_host_before_the_driver_deletes_the_endpoint(place, plugin):
    place.far()
    box = run(place, plugin, "web")
    found = []

    def delete(body):
        found.append(place.machine.links())
        return plugin.on_NetworkDriver_DeleteEndpoint(body)

    plugin.answers[ND + "DeleteEndpoint"] = delete
    source = f"rx{plugin.last(ND + 'CreateEndpoint')['EndpointID'][:8]}"
    assert source not in place.machine.links()
    box.remove()
    assert source in found[0]


def test_the_driver_chooses_routes_prefix_and_what_was_left_to_it(place, plugin):
    place.far()
    plugin.answers[ND + "CreateEndpoint"] = lambda body: {
        **plugin.on_NetworkDriver_CreateEndpoint(body),
        "Interface": {"MacAddress": "02-aa-bb-cc-dd-ee"},
    }
    plugin.answers[ND + "Join"] = lambda body: joined(
        body,
        InterfaceName={"SrcName": f"rx{body['EndpointID'][:8]}", "DstPrefix": "wan", "DstName": "ignored"},
        Gateway="10.1.0.1",
        StaticRoutes=[
            {"Destination": "192.0.2.0/24", "RouteType": 0, "NextHop": "10.1.0.9"},
            {"Destination": "203.0.113.0/24", "RouteType": 1},
        ],
    )
    box = run(place, plugin, "web")
    assert box.node.mac("wan0") == "02:aa:bb:cc:dd:ee" == box.settings["Networks"]["n"]["MacAddress"]
    routes = {route["dst"]: route.get("gateway") for route in box.node.json("route")}
    assert routes == {
        "default": "10.1.0.1",
        "10.1.0.0/24": None,
        "192.0.2.0/24": "10.1.0.9",
        "203.0.113.0/24": None,
    }


def test_without_a_gateway_the_container_has_no_way_out_and_is_not_programmed(place, plugin):
    place.far()
    plugin.answers[ND + "Join"] = lambda body: joined(body, DisableGatewayService=True)
    seen = len(plugin.calls)
    box = run(place, plugin, "web", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    assert box.gateway() is None and box.settings["Networks"]["n"]["Gateway"] == ""
    assert set(plugin.methods(seen)) == {ND + "CreateEndpoint", ND + "Join", ND + "EndpointOperInfo"}
    place.connect("bridge", "web")
    assert box.gateway() == "172.17.0.1", "the other network has the default route"
    assert box.settings["Ports"]["80/tcp"][0]["HostPort"] == "8080"


def test_ports_follow_the_way_out_from_one_network_to_another(place, plugin):
    place.far("aa")
    place.far("bb", "10.2.0.0/24")
    run(place, plugin, "web", "bb")
    [bb] = [body["EndpointID"] for body in plugin.bodies(ND + "CreateEndpoint")]
    seen = len(plugin.calls)
    place.connect("aa", "web")
    plugin.await_call(ND + "EndpointOperInfo", 2)
    assert plugin.methods(seen) == [*RUN[:2], STOP[0], *RUN[2:]]
    assert plugin.last(STOP[0])["EndpointID"] == bb
    aa = plugin.last(ND + "CreateEndpoint")["EndpointID"]
    assert plugin.last(RUN[2])["EndpointID"] == aa
    seen = len(plugin.calls)
    place.disconnect("aa", "web")
    assert plugin.methods(seen) == [*STOP[:2], RUN[2], STOP[2]]
    assert plugin.last(STOP[1])["EndpointID"] == plugin.last(STOP[2])["EndpointID"] == aa
    assert plugin.last(RUN[2])["EndpointID"] == bb


def test_a_priority_decides_which_network_is_the_way_out(place, plugin):
    place.far("aa")
    place.far("bb", "10.2.0.0/24")
    box = run(place, plugin, "web", {"aa": {}, "bb": {"GwPriority": 1}})
    assert box.gateway() == "10.2.0.1"
    networks = {body["EndpointID"]: body["NetworkID"] for body in plugin.bodies(ND + "CreateEndpoint")}
    programmed = [networks[body["EndpointID"]] for body in plugin.bodies(RUN[2])]
    assert programmed == [place.get("/networks/bb")["Id"]]


def test_methods_that_a_driver_does_not_have_are_done_without(place, plugin):
    for method in (RUN[2], STOP[0]):
        plugin.answers[method] = (404, "page not found")
    place.far()
    run(place, plugin, "web").remove()
    assert {RUN[2], STOP[0]} <= set(plugin.methods())


def test_a_driver_that_needs_no_gateway_gets_none(place, plugin):
    plugin.answers[ND + "GetCapabilities"] = {"Scope": "local", "GwAllocChecker": True}
    plugin.answers[ND + "GwAllocCheck"] = {"SkipIPv4": True}
    made = place.far(Options={"a": "b"})
    assert plugin.last(ND + "GwAllocCheck")["Options"]["com.docker.network.generic"] == {"a": "b"}
    assert "Gateway" not in made["IPAM"]["Config"][0]
    assert "Gateway" not in plugin.last(ND + "CreateNetwork")["IPv4Data"][0]
    assert run(place, plugin, "web").address("n") == "10.1.0.1"


def test_many_containers_start_and_stop_side_by_side(place, plugin):
    place.far()
    with ThreadPoolExecutor(8) as pool:
        boxes = list(pool.map(lambda number: place.sandbox(f"c{number}", "n"), range(16)))
        assert len({box.address("n") for box in boxes}) == 16
        list(pool.map(lambda box: box.remove(), boxes))
    for method in (ND + "CreateEndpoint", ND + "Join", *STOP):
        ids = [body["EndpointID"] for body in plugin.bodies(method)]
        assert len(ids) == len(set(ids)) == 16
    assert [link for link in place.machine.links() if link.startswith("r") and not link.startswith("rb")] == []
