"""The network part of Docker's API."""

import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.installation import wait_until
from tests.lab import reach


def state(place):
    return place.networks(), place.ruleset(), place.links()


def create(place, status, name="n", **fields):
    return place.refusal(status, "POST", "/networks/create", {"Name": name, **fields})


def pool(**config):
    return {"IPAM": {"Driver": "default", "Config": [config]}}


def test_the_predefined_networks_are_shown_as_docker_does(place):
    bridge, host, none = (place.get(f"/networks/{name}") for name in ("bridge", "host", "none"))
    assert (bridge["Driver"], host["Driver"], none["Driver"]) == ("bridge", "host", "null")
    assert bridge["IPAM"]["Config"] == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    assert bridge["Options"]["com.docker.network.bridge.name"] == "netd0"
    assert bridge["Options"]["com.docker.network.bridge.default_bridge"] == "true"
    for network in (host, none):
        assert network["IPAM"] == {"Driver": "default", "Options": None, "Config": None}
        assert (network["Scope"], network["Options"], network["Labels"], network["Containers"]) == ("local", {}, {}, {})
    assert "Containers" not in place.get("/networks")[0]


def test_a_network_is_made_and_removed_in_the_kernel_and_on_the_list(place):
    before = state(place)
    made = place.network("shop", Labels={"a": "b"}, Options={"org.x": "y"}, Attachable=True, CheckDuplicate=True)
    assert made["IPAM"]["Config"] == [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]
    assert (made["Labels"], made["Options"], made["Attachable"]) == ({"a": "b"}, {"org.x": "y"}, True)
    bridge = f"nd-{made['Id'][:12]}"
    assert bridge in place.links() and "172.18.0.1/16" in place.machine.addresses()
    assert place.ruleset().count(bridge) >= 2
    place.ask(204, "DELETE", "/networks/shop")
    assert state(place) == before
    place.refusal(404, "GET", "/networks/shop")


def test_no_link_of_a_removed_network_or_its_containers_is_seen_by_anybody(place):
    wait_until(lambda: set(place.links()) == place.machine.links())
    before = place.machine.links()
    place.network("shop")
    place.sandbox("a", "shop").remove()
    place.ask(204, "DELETE", "/networks/shop")
    assert place.machine.links() == before
    place.network("shop")
    assert place.ask(200, "POST", "/networks/prune") == {"NetworksDeleted": ["shop"]}
    assert place.machine.links() == before


def test_the_links_of_a_burst_of_removals_are_gone_soon_and_their_names_at_once(place):
    wait_until(lambda: set(place.links()) == place.machine.links())
    before = place.machine.links()
    for number in range(8):
        bridge = f"nd-{place.network(f'n{number}')['Id'][:12]}"
        place.ask(204, "DELETE", f"/networks/n{number}")
        assert bridge not in place.machine.links()
    wait_until(lambda: place.machine.links() == before)


def test_pools_are_taken_in_order_and_avoid_what_the_host_has(place):
    assert place.network("a")["IPAM"]["Config"][0]["Subnet"] == "172.18.0.0/16"
    place.machine.ip("route add 172.19.5.0/24 dev lo")
    place.machine.ip("addr add 172.20.0.9/16 dev lo")
    try:
        assert place.network("b")["IPAM"]["Config"][0]["Subnet"] == "172.21.0.0/16"
    finally:
        place.machine.ip("route del 172.19.5.0/24 dev lo")
        place.machine.ip("addr del 172.20.0.9/16 dev lo")
    assert place.network("c")["IPAM"]["Config"][0]["Subnet"] == "172.19.0.0/16"


def test_everything_about_addresses_can_be_given(place):
    config = {
        "Subnet": "10.91.0.0/24",
        "IPRange": "10.91.0.128/25",
        "Gateway": "10.91.0.7",
        "AuxiliaryAddresses": {"router": "10.91.0.128"},
    }
    assert place.network("n", **pool(**config))["IPAM"]["Config"] == [config]
    assert place.sandbox("c", "n").address("n") == "10.91.0.129"


@pytest.mark.parametrize("name", ["a\nb", "", " ", "x" * 5000])
def test_bad_names(place, name):
    before = state(place)
    assert "name" in create(place, 400, name)
    assert state(place) == before


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        (pool(Subnet="zork"), 400, "zork"),
        (pool(Subnet="10.91.0.1/24"), 400, "10.91.0.0/24"),
        (pool(Subnet="10.91.0.0/24", Gateway="10.92.0.1"), 400, "10.92.0.1"),
        (pool(Subnet="10.91.0.0/24", Gateway="10.91.0.0"), 500, "failed to allocate gateway (10.91.0.0)"),
        (pool(Subnet="127.1.0.0/24"), 400, "127.1.0.0/24"),
        (pool(Subnet="172.17.128.0/24"), 403, "172.17.128.0/24 overlaps 172.17.0.0/16 of network bridge"),
        ({"IPAM": {"Config": [{"Subnet": "10.1.0.0/24"}, {"Subnet": "10.2.0.0/24"}]}}, 403, "multiple subnets"),
        ({"IPAM": {"Driver": "dhcp"}}, 404, "dhcp"),
        ({"EnableIPv4": False}, 400, "IPv4 or IPv6 must be enabled"),
        ({"Options": {"com.docker.network.enable_ipv6": "zork"}}, 400, "enable_ipv6"),
        ({"Driver": "nosuch"}, 404, 'plugin "nosuch" not found'),
        ({"Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
        ({"Options": {"com.docker.network.driver.mtu": "many"}}, 400, "many"),
        ({"Options": {"com.docker.network.bridge.nosuch": "1"}}, 400, "com.docker.network.bridge.nosuch"),
        ({"Options": {"com.docker.network.bridge.name": "netd0"}}, 403, "same bridge name netd0"),
        ({"Labels": {"a": 1}}, 400, "Labels"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(place, fields, status, words):
    before = state(place)
    assert words in create(place, status, **fields)
    assert state(place) == before


def test_predefined_networks_stay(place):
    for name in ("bridge", "host", "none"):
        assert name in create(place, 403, name)
        assert f"{name} is a pre-defined network" in place.refusal(403, "DELETE", f"/networks/{name}")


def test_of_twenty_at_once_one_is_made(place):
    with ThreadPoolExecutor(20) as pool_:
        body = {"Name": "same"}
        results = list(pool_.map(lambda _: place.call("POST", "/networks/create", body)[0], range(20)))
    assert sorted(results) == [201] + [409] * 19
    assert len([link for link in place.links() if link.startswith("nd-")]) == 1
    assert "network with name same already exists" in create(place, 409, "same")


def test_a_network_in_use_stays_and_says_whose_it_is(place):
    place.network("shop")
    place.sandbox("web", "shop")
    words = place.refusal(403, "DELETE", "/networks/shop")
    assert 'network shop has active endpoints (name:"web" id:"' in words
    place.ask(200, "POST", "/networks/prune")
    assert "shop" in place.networks()


def test_the_containers_of_a_network_are_shown(place):
    place.network("shop", "10.91.0.0/24")
    web = place.sandbox("web", "shop")
    entry = web.settings["Networks"]["shop"]
    assert place.get("/networks/shop")["Containers"] == {
        web.id: {
            "Name": "web",
            "EndpointID": entry["EndpointID"],
            "MacAddress": "02:42:0a:5b:00:02",
            "IPv4Address": "10.91.0.2/24",
            "IPv6Address": "",
        }
    }


def filtered(path, **filters):
    return f"{path}?filters={quote(json.dumps(filters))}"


def test_lists_are_filtered(place):
    place.network("one", Labels={"k": "v"})
    place.network("two")

    def names(**filters):
        return {network["Name"] for network in place.get(filtered("/networks", **filters))}

    assert names(label={"k=v": True}) == {"one"}
    assert names(name=["^t"]) == {"two"}
    assert names(type=["builtin"]) == {"bridge", "host", "none"}
    assert "'zork'" in place.refusal(400, "GET", filtered("/networks", zork=["x"]))
    assert "invalid filter" in place.refusal(500, "GET", filtered("/networks", type=["x"]))


def test_prune_takes_what_it_is_told_and_says_null_when_there_is_nothing(place):
    place.network("a", Labels={"x": ""})
    place.network("b")
    assert place.ask(200, "POST", filtered("/networks/prune", label=["x"])) == {"NetworksDeleted": ["a"]}
    assert place.ask(200, "POST", "/networks/prune") == {"NetworksDeleted": ["b"]}
    assert place.ask(200, "POST", "/networks/prune") == {"NetworksDeleted": None}


def test_a_bridge_of_somebody_else_is_used_and_left(place):
    place.machine.ip("link add mybr type bridge")
    try:
        place.network("n", "10.91.0.0/24", Options={"com.docker.network.bridge.name": "mybr"})
        web = place.sandbox("web", "n")
        place.lab.echo(web.node, 80)
        assert reach(place.machine, web.address("n"), 80) == "10.91.0.1"
        web.remove()
        place.ask(204, "DELETE", "/networks/n")
        assert "mybr" in place.links()
    finally:
        place.machine.ip("link del mybr")


def test_an_mtu_reaches_the_bridge_and_the_container(place):
    made = place.network("n", Options={"com.docker.network.driver.mtu": "1400"})
    web = place.sandbox("web", "n")
    assert "mtu 1400" in place.machine.ip(f"link show nd-{made['Id'][:12]}")
    assert "mtu 1400" in web.node.ip("link show eth0")


def test_versions_and_the_handshake(place):
    assert place.get("/_ping") == "OK"
    assert place.get("/v1.51/networks") and place.get("/networks/")
    assert "too new" in place.refusal(400, "GET", "/v1.99/networks")
    assert place.refusal(404, "GET", "/nosuch") == "page not found"
    assert place.get("/version")["ApiVersion"] == "1.56"
    assert place.ask(404, "GET", "/networks/bridge?scope=swarm")
    assert "zork" in place.refusal(400, "GET", "/networks/bridge?verbose=zork")


@pytest.mark.parametrize(
    "name",
    [
        "build-" + "a" * 200,
        "ci_default." + "b" * 64,
        "my network",
        "-dashed",
        "a..b.",
        'quoted"\\;{}',
        "größe/ü:1@x,y",
        "c" * 300 + "." + "d" * 700,
    ],
    ids=range(8),
)
def test_names_that_docker_accepts_are_accepted(place, name):
    """What derives from the name works: links, DNS names, events, the store."""
    network = place.network(name, "10.77.0.0/24")
    assert network["Name"] == name and name in place.networks()
    web = place.sandbox("web", name)
    pal = place.sandbox("pal", name)
    assert pal.resolve("web") == [web.address(name)]
    assert pal.resolve("2.0.77.10.in-addr.arpa", "PTR")[0].startswith("web")
    [link] = [
        found for found in place.machine.json("link") if any("web." in alias for alias in found.get("altnames", ()))
    ]
    assert all(len(alias) <= 127 for alias in link["altnames"])
    place.connect(network["Id"], place.sandbox("late").id)
    place.ask(409, "POST", "/networks/create", {"Name": name})


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "\u202eb", "x" * 5000], ids=range(4))
def test_names_that_would_alter_the_output_of_clients_are_refused(place, name):
    assert "invalid network name" in place.refusal(400, "POST", "/networks/create", {"Name": name})
