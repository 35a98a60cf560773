"""Docker's behaviours of networks, connections and events, as listed in docs/docker-behaviours.md."""

import http.client
import json
import socket
import time

import pytest

from tests.api.conftest import OUTSIDE, UPLINK
from tests.api.test_networks import create, filtered
from tests.lab import reach

CONFIG = {"IPAM": {"Config": [{"Subnet": "10.94.0.0/24"}]}}


def raw(place, method, path, body=b"", content_type=None):
    """Send the raw body and return the status and the message."""
    connection = http.client.HTTPConnection("netd")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(place.run / "netd.sock"))
    with connection.sock:
        connection.request(method, path, body, {"Content-Type": content_type} if content_type else {})
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text)["message"] if text.startswith(b"{") else text.decode()


def refused(place, status, path, **body):
    return place.refusal(status, "POST", path, body)


# Bodies and lookups


def test_the_list_has_both_paths_and_the_built_in_networks(place):
    for path in ("/networks", "/networks/"):
        assert {network["Name"] for network in place.get(path)} == {"bridge", "host", "none"}


@pytest.mark.parametrize("path", ["/networks/create", "/networks/bridge/connect", "/networks/bridge/disconnect"])
def test_bodies_that_are_no_json_are_told_why(place, path):
    assert raw(place, "POST", path, b"{}", "text/plain") == (
        400,
        "unsupported Content-Type header (text/plain): must be 'application/json'",
    )
    assert raw(place, "POST", path, b"{} x", "application/json") == (400, "unexpected content after JSON")
    status, words = raw(place, "POST", path)
    assert 400 <= status < 500 and words


def test_keys_are_read_whatever_their_case(place):
    body = {"NAME": "n", "ipam": {"config": [{"subnet": "10.94.0.0/24"}]}, "labels": {"Name": "x", "name": "y"}}
    place.ask(201, "POST", "/networks/create", body)
    shown = place.get("/networks/n")
    assert shown["IPAM"]["Config"][0]["Subnet"] == "10.94.0.0/24" and shown["Labels"] == {"Name": "x", "name": "y"}
    place.sandbox("web")
    port_requests = {"container": "web", "ENDPOINTCONFIG": {"ipamconfig": {"ipv4address": "10.94.0.9"}}}
    place.ask(200, "POST", "/networks/n/connect", port_requests)
    assert place.get("/networks/n")["Containers"].popitem()[1]["IPv4Address"] == "10.94.0.9/24"


def test_a_whole_id_comes_before_a_name_and_a_name_before_the_start_of_an_id(place):
    first = place.network("a")["Id"]
    place.network(first[:12])
    place.network(first)
    place.ask(204, "DELETE", f"/networks/{first[:12]}")
    assert set(place.networks()) >= {"a", first} and first[:12] not in place.networks()
    place.ask(204, "DELETE", f"/networks/{first}")
    assert "a" not in place.networks() and first in place.networks()


def test_the_start_of_several_ids_is_ambiguous_in_the_words_of_each_call(place):
    starts: dict[str, int] = {}
    for number in range(20):
        start = place.network(f"n{number}")["Id"][0]
        starts[start] = starts.get(start, 0) + 1
        if starts[start] > 1:
            break
    count = sum(network["Id"].startswith(start) for network in place.get("/networks"))
    told = f"{count} matches found based on ID prefix"
    assert place.refusal(400, "GET", f"/networks/{start}") == f"{told}: network {start} is ambiguous"
    assert place.refusal(400, "DELETE", f"/networks/{start}") == f"network {start} is ambiguous ({told})"
    box = place.sandbox("web")
    words = refused(place, 400, f"/networks/{start}/connect", Container=box.id)
    assert words == f"network {start} is ambiguous ({told})"


def test_scope_and_verbose_of_inspect(place):
    assert place.get("/networks/bridge?scope=local&verbose=true")["Name"] == "bridge"
    assert place.refusal(404, "GET", "/networks/bridge?scope=swarm") == "network bridge not found"
    words = 'invalid value for verbose: zork: strconv.ParseBool: parsing "zork": invalid syntax'
    assert place.refusal(400, "GET", "/networks/bridge?verbose=zork") == words


def test_address_counts_are_shown_from_their_api_version_on(place):
    place.network("n", "10.94.0.0/24")

    def status(version):
        return place.get(f"/{version}/networks/n").get("Status")

    def counts(used):
        return {"IPAM": {"Subnets": {"10.94.0.0/24": {"IPsInUse": used, "DynamicIPsAvailable": 256 - used}}}}

    assert status("v1.51") is None and status("v1.52") == counts(3)
    box = place.sandbox("web", "n")
    assert status("v1.52") == counts(4)
    box.remove()
    assert status("v1.52") == counts(3)
    assert place.get("/networks/host")["Status"] == {"IPAM": {}}
    assert "Status" not in place.get("/networks")[0]


# Lists and prune


def test_filters_are_expressions_and_ids_match_anywhere(place):
    made = place.network("h1_abc")["Id"]
    place.network("xh1_abc")

    def names(**filters):
        return {network["Name"] for network in place.get(filtered("/networks", **filters))}

    assert names(name=["^h1_a"]) == {"h1_abc"} and names(name=["h1_a"]) == {"h1_abc", "xh1_abc"}
    assert names(name=["("]) == set() and names(id=[made[20:40]]) == {"h1_abc"}
    assert names(driver=["null"]) == {"none"} and names(scope=["swarm"]) == set()
    assert names(type=["builtin"], driver=["bridge"]) == {"bridge"}
    assert names(type=["custom", "builtin"], name=["bridge", "h1_abc"]) == {"bridge", "h1_abc", "xh1_abc"}


def test_dangling_networks_are_those_that_nobody_runs_on(place):
    place.network("used")
    place.network("idle")
    place.sandbox("web", "used")

    def names(*values):
        return {network["Name"] for network in place.get(filtered("/networks", dangling=list(values)))}

    assert names("true") == names("1") == {"idle"}
    assert names("false") == names("0") == {"used", "bridge", "host", "none"}
    assert "must be" in place.refusal(400, "GET", filtered("/networks", dangling=["yes"]))
    words = place.refusal(400, "GET", filtered("/networks", dangling=["true", "false"]))
    assert words == 'got more than one value for filter key "dangling"'


def test_prune_applies_label_and_until_filters(place):
    place.network("a", Labels={"keep": "yes"})
    place.network("b", Labels={"keep": "no"})

    def pruned(**filters):
        return place.ask(200, "POST", filtered("/networks/prune", **filters))["NetworksDeleted"]

    assert pruned(until=["24h"]) is None and pruned(until=["2001-01-01"]) is None
    assert pruned(**{"label!": ["keep=yes"]}) == ["b"]
    words = place.refusal(400, "POST", filtered("/networks/prune", until=["zork"]))
    assert words.startswith("failed to parse value as time or duration: ")
    assert pruned(until=["0s"]) == ["a"]


# Create and delete


def test_of_several_faults_the_first_in_dockers_order_is_told(place):
    place.network("n")
    wrong = {"IPAM": {"Config": [{"Subnet": "10.94.0.1/24"}]}, "Driver": "nosuch"}
    assert create(place, 403, "bridge", **wrong) == "operation is not permitted on predefined bridge network "
    assert create(place, 403, "default").startswith("operation is not permitted on predefined default network")
    assert create(place, 400, "", **wrong).startswith("invalid network config")
    assert create(place, 400, "n", **wrong).startswith("invalid network config")
    assert create(place, 409, "n", Driver="nosuch") == "network with name n already exists"
    assert create(place, 404, "m", Driver="nosuch").startswith('plugin "nosuch" not found')
    assert "swarm" in create(place, 403, "m", Driver="overlay")
    assert create(place, 403, "m", Ingress=True) == "Ingress network can only be global scope network"
    assert "cannot create a swarm scoped network when swarm is not active" in create(place, 403, "m", Scope="swarm")


def test_an_explicit_family_takes_its_option_out_of_what_is_shown(place):
    option = "com.docker.network.enable_ipv6"
    assert place.network("a", Options={option: "false"}, EnableIPv6=False)["Options"] == {}
    assert place.network("b", Options={option: "true"})["EnableIPv6"] is True
    assert create(place, 400, "c", Options={option: "x"}) == f'driver-opt "{option}" is not a valid bool'


def test_fields_of_later_api_versions_are_ignored(place):
    """EnableIPv4 and GwPriority were added in API 1.48."""
    body = {"Name": "n", "EnableIPv4": False, **CONFIG}
    place.ask(201, "POST", "/v1.47/networks/create", body)
    assert place.get("/networks/n")["EnableIPv4"] is True
    place.network("zz", "10.95.0.0/24")
    box = place.sandbox("web", "n")
    port_requests = {"Container": "web", "EndpointConfig": {"GwPriority": 5}}
    place.ask(200, "POST", "/v1.47/networks/zz/connect", port_requests)
    assert box.gateway() == "10.94.0.1"
    place.disconnect("zz", "web")
    place.ask(200, "POST", "/v1.48/networks/zz/connect", port_requests)
    assert box.gateway() == "10.95.0.1"


def test_networks_follow_a_template_and_hold_it(place):
    labels, options = {"team": "red", "tier": "1"}, {"com.docker.network.driver.mtu": "1400"}
    template = place.network("c", "10.94.0.0/24", ConfigOnly=True, Labels=labels, Options=options)
    assert (template["Driver"], template["ConfigOnly"]) == ("null", True)
    assert template["IPAM"]["Config"] is None and template["Options"] == options
    body = {"ConfigFrom": {"Network": "c"}, "Internal": True, "Labels": {"tier": "2"}}
    made = place.network("n", **body)
    assert made["IPAM"]["Config"] == [{"Subnet": "10.94.0.0/24", "Gateway": "10.94.0.1"}]
    assert (made["Internal"], made["ConfigFrom"], made["ConfigOnly"]) == (True, {"Network": "c"}, False)
    assert made["Labels"] == {"team": "red", "tier": "2"} and made["Options"] == options
    words = place.refusal(403, "DELETE", "/networks/c")
    assert words.startswith('error while removing network: configuration network "c" is in use')
    words = place.refusal(403, "POST", "/netd/v1/sandboxes", place.request("web", "c"))
    assert words == "cannot create endpoint on configuration-only network"
    place.ask(204, "DELETE", "/networks/n")
    assert place.ask(200, "POST", "/networks/prune")["NetworksDeleted"] is None, "templates are not pruned"
    place.ask(204, "DELETE", "/networks/c")


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"ConfigOnly": True, "Internal": True}, 403, "can only contain network specific fields"),
        ({"ConfigOnly": True, "ConfigFrom": {"Network": "c"}}, 403, "cannot depend on another configuration network"),
        ({"ConfigFrom": {"Network": "c"}, **CONFIG}, 403, "user-specified configurations are not supported"),
        ({"ConfigFrom": {"Network": "c"}, "Options": {"a": "b"}}, 403, "network driver options are not supported"),
        ({"ConfigFrom": {"Network": "c"}}, 404, 'configuration network "c" does not exist'),
        ({"ConfigFrom": {"Network": "bridge"}}, 404, 'configuration network "bridge" does not exist'),
    ],
)
def test_what_a_template_cannot_be(place, fields, status, words):
    assert words in create(place, status, **fields)


def test_a_template_outlives_netd(site):
    site.network("c", "10.94.0.0/24", ConfigOnly=True)
    site.kill()
    site.start()
    assert site.get("/networks/c")["ConfigOnly"] is True
    assert site.network("n", ConfigFrom={"Network": "c"})["IPAM"]["Config"][0]["Subnet"] == "10.94.0.0/24"


# Connect and disconnect


def standing(box):
    """Return the links of the sandbox without retired ones."""
    return {name for name in box.node.links() if not name.startswith("ndx")}


def test_connecting_twice_changes_nothing(place):
    place.network("n", "10.94.0.0/24")
    place.sandbox("web", "n")
    before = place.get("/networks/n")
    words = refused(place, 403, "/networks/n/connect", Container="web")
    assert words == "endpoint with name web already exists in network n"
    assert place.get("/networks/n") == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"IPAMConfig": {"IPv4Address": "zork"}}, "invalid IPv4 address: zork"),
        ({"IPAMConfig": {"IPv4Address": "0.0.0.0"}}, "invalid IPv4 address: 0.0.0.0"),
        ({"IPAMConfig": {"IPv6Address": "10.0.0.1"}}, "invalid IPv6 address: 10.0.0.1"),
        ({"IPAMConfig": {"IPv4Address": "10.9.9.9"}}, "no configured subnet contains IP address 10.9.9.9"),
        ({"IPAMConfig": {"LinkLocalIPs": ["zork"]}}, "invalid link-local IP address: zork"),
        ({"IPAMConfig": {"LinkLocalIPs": ["10.0.0.1"]}}, "invalid link local IP address: 10.0.0.1"),
        (
            {"IPAMConfig": {"IPv4Address": "zork", "IPv6Address": "zork"}},
            "* invalid IPv4 address: zork\n* invalid IPv6 address: zork",
        ),
    ],
)
def test_settings_that_cannot_be_are_listed(place, settings, words):
    place.network("n", "10.94.0.0/24")
    place.sandbox("web")
    body = {"Container": "web", "EndpointConfig": settings}
    _, said = place.call("POST", "/networks/n/connect", body)
    assert said["message"].startswith(f"invalid endpoint settings:\n{words}")
    assert place.get("/networks/n")["Containers"] == {}


def test_what_the_built_in_networks_do_not_have(place):
    body = {"Container": "web", "EndpointConfig": {"Aliases": ["a"], "IPAMConfig": {"IPv4Address": "172.17.0.9"}}}
    place.network("n")
    place.sandbox("web", "n")
    _, said = place.call("POST", "/networks/bridge/connect", body)
    assert said["message"] == (
        "invalid endpoint settings:\n"
        "* user-specified IP address is supported on user-defined networks only\n"
        "* network-scoped aliases are only supported for user-defined networks"
    )


def test_addresses_that_somebody_has_are_in_use(place):
    place.network("n", "10.94.0.0/24")
    place.sandbox("first", "n")
    place.sandbox("web")
    for last in (0, 1, 2, 255):
        settings = {"IPAMConfig": {"IPv4Address": f"10.94.0.{last}"}}
        words = refused(place, 403, "/networks/n/connect", Container="web", EndpointConfig=settings)
        assert words.startswith("Address already in use")


def test_a_container_off_the_network_cannot_be_disconnected(place):
    place.network("n")
    box = place.sandbox("web")
    words = refused(place, 500, "/networks/n/disconnect", Container="web")
    assert words == f"container {box.id} is not connected to network n"
    assert refused(place, 404, "/networks/absent/disconnect", Container="web") == "network absent not found"
    assert refused(place, 404, "/networks/n/disconnect", Container="absent") == "No such container: absent"
    words = refused(place, 404, "/networks/n/disconnect", Container="absent", Force=True)
    assert words == "endpoint absent not found"
    assert refused(place, 400, "/networks/n/connect", Container="") == 'invalid name or ID supplied: ""'


def test_without_its_last_network_a_container_has_loopback_and_gets_eth0_back(place):
    place.network("n", "10.94.0.0/24")
    box = place.sandbox("web", "n")
    place.disconnect("n", "web")
    assert standing(box) == {"lo"} and box.settings["Networks"] == {} and box.settings["Ports"] == {}
    place.connect("n", "web")
    assert standing(box) == {"lo", "eth0"} and box.gateway() == "10.94.0.1"


def test_none_excludes_others_until_it_is_left(place):
    box = place.sandbox("web", NetworkMode="none")
    words = refused(place, 400, "/networks/bridge/connect", Container="web")
    assert words == (
        "container cannot be connected to multiple networks with one of the networks in private (none) mode"
    )
    place.disconnect("none", "web")
    place.connect("bridge", "web")
    assert box.gateway() == "172.17.0.1"


def test_the_way_out_and_published_ports_move_within_the_call(place):
    place.network("aa", "10.94.0.0/24")
    place.network("bb", "10.95.0.0/24")
    box = place.sandbox("web", {"aa": {}, "bb": {}}, PortBindings={"80/tcp": [{"HostPort": "8094"}]})
    server = place.lab.echo(box.node, 80)
    assert box.gateway() == "10.94.0.1"
    place.disconnect("aa", "web")
    assert box.gateway() == "10.95.0.1" and box.settings["Ports"]["80/tcp"][0]["HostPort"] == "8094"
    assert reach(place.outside, UPLINK, 8094) == OUTSIDE
    server.close()


def test_a_connection_that_the_kernel_refuses_is_nowhere_and_works_later(place):
    """A foreign interface in the sandbox has the name chosen for the new one."""
    place.network("n", "10.94.0.0/24")
    box = place.sandbox("web")
    box.node.ip("link add eth1 type bridge")
    before = place.get("/networks/n"), box.settings, standing(box), place.links()
    refused(place, 500, "/networks/n/connect", Container="web")
    assert (place.get("/networks/n"), box.settings, standing(box), place.links()) == before
    box.node.ip("link del eth1")
    place.connect("n", "web")
    assert box.address("n") == "10.94.0.2"


# Events


def test_events_tell_a_networks_life_in_order_with_the_container(place):
    since = time.time()
    made = place.network("n", Labels={"not": "told"})["Id"]
    place.network("c", ConfigOnly=True)
    box = place.sandbox("web", "n")
    box.remove()
    for name in ("c", "n"):
        place.ask(204, "DELETE", f"/networks/{name}")
    place.ask(200, "POST", "/networks/prune")
    _, text = place.exchange("GET", f"/events?since={since}&until={time.time()}")
    seen = [json.loads(line) for line in text.splitlines()]
    mine = [(event["Action"], event["Actor"]["Attributes"]) for event in seen if event["Actor"]["ID"] == made]
    told = {"name": "n", "type": "bridge"}
    assert mine == [
        ("create", told),
        ("connect", {**told, "container": box.id}),
        ("disconnect", {**told, "container": box.id}),
        ("destroy", told),
    ]
    others = [
        (event["Action"], event["Actor"]["Attributes"].get("name", ""))
        for event in seen
        if event["Actor"]["ID"] != made
    ]
    assert others == [("create", "c"), ("prune", "")], "deleting a template sends no event"
    assert seen[-1]["Actor"] == {"ID": "", "Attributes": {"reclaimed": "0"}}
    assert {"status", "id", "from"}.isdisjoint(seen[0]) and (seen[0]["Type"], seen[0]["scope"]) == ("network", "local")
