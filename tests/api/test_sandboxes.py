"""Sandboxes: created completely or not at all, changed while running, removed completely."""

import json
import os
import secrets
from ipaddress import ip_address

import pytest

from tests.lab import reach, unreachable

ABSENT = "ff" * 32


def test_a_container_on_the_default_bridge(place):
    web = place.sandbox("web")
    entry = web.settings["Networks"]["bridge"]
    assert (entry["IPAddress"], entry["IPPrefixLen"], entry["Gateway"]) == ("172.17.0.2", 16, "172.17.0.1")
    assert entry["MacAddress"] == "02:42:ac:11:00:02" and entry["DNSNames"] is None
    [address] = json.loads(web.node.ip("-j -4 addr show eth0"))[0]["addr_info"]
    assert (address["local"], address["prefixlen"], web.gateway()) == ("172.17.0.2", 16, "172.17.0.1")
    assert web.node.mac("eth0") == entry["MacAddress"]
    assert web.view["Hosts"].endswith(f"172.17.0.2\t{web.id[:12]}\n")
    assert "nameserver 127.0.0.11\n" in web.view["ResolvConf"]
    assert web.settings["SandboxKey"] == web.view["Netns"]


def test_names_resolve_on_the_default_bridge_too_and_follow_the_address(place):
    web, db = place.sandbox("web"), place.sandbox("db")
    assert web.resolve("db") == [db.address()] and db.resolve("WEB") == [web.address()]
    web.remove()
    again = place.sandbox("other")
    place.ask(200, "POST", f"/netd/v1/sandboxes/{again.id}/rename", {"Name": "web"})
    assert again.address() != web.view["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    for name in ("web", again.id[:12], "web.bridge"):
        assert db.resolve(name) == [again.address()]


def test_containers_reach_each_other_and_the_world_but_not_other_networks(place):
    for name in ("front", "back"):
        place.network(name)
    web, db, other = place.sandbox("web", "front"), place.sandbox("db", "back"), place.sandbox("other", "front")
    for box in (web, db):
        place.lab.echo(box.node, 80)
    echo = place.lab.echo(place.outside, 7)
    assert reach(other.node, web.address("front"), 80) == other.address("front")
    assert reach(web.node, "198.51.100.2", 7) == "198.51.100.1"
    assert unreachable(other.node, db.address("back"), 80)
    assert other.resolve("db") is None
    echo.close()


def test_an_internal_network_has_no_route_to_the_outside(place):
    place.network("inside", Internal=True)
    web = place.sandbox("web", "inside", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    assert web.gateway() is None and web.settings["Networks"]["inside"]["Gateway"] == ""
    assert web.settings["Ports"] == {"80/tcp": None}
    assert web.resolve("example.test") is None


def test_host_and_none(place):
    host, none = place.sandbox("h", NetworkMode="host"), place.sandbox("n", NetworkMode="none")
    assert host.view["Netns"] is None and host.settings["SandboxKey"].endswith("/default")
    assert host.settings["Networks"]["host"]["IPAddress"] == "" and host.settings["Ports"] == {}
    assert [link["ifname"] for link in json.loads(none.node.ip("-j link"))] == ["lo"]
    assert set(place.get("/networks/host")["Containers"]) == {host.id}
    assert place.get("/networks/none")["Containers"][none.id]["IPv4Address"] == ""


def test_a_container_joins_several_networks_at_once(place):
    place.network("zz", "10.1.0.0/24")
    place.network("aa", "10.2.0.0/24")
    web = place.sandbox("web", {"zz": {"Aliases": ["w"]}, "aa": {"GwPriority": -1}})
    assert list(web.settings["Networks"]) == ["zz", "aa"] and web.gateway() == "10.1.0.1"
    asker = place.sandbox("asker", "zz")
    assert asker.resolve("w") == ["10.1.0.2"]
    assert web.settings["Networks"]["zz"]["DNSNames"] == ["web", "w", web.id[:12]]
    assert web.view["Hosts"].count(web.id[:12]) == 2


def test_static_addresses_macs_and_interface_names(place):
    place.network("n", "10.1.0.0/24")
    port_requests = {
        "IPAMConfig": {"IPv4Address": "10.1.0.77"},
        "MacAddress": "02:11:22:33:44:55",
        "DriverOpts": {"com.docker.network.endpoint.ifname": "wan0"},
    }
    web = place.sandbox("web", {"n": port_requests})
    assert web.node.mac("wan0") == "02:11:22:33:44:55" and web.address("n") == "10.1.0.77"
    shown = web.settings["Networks"]["n"]
    assert shown["IPAMConfig"] == {"IPv4Address": "10.1.0.77"} and shown["DriverOpts"] == port_requests["DriverOpts"]


def test_sysctls_are_set_inside(place):
    web = place.sandbox("web", Sysctls={"net.ipv4.ip_unprivileged_port_start": "77"})
    assert web.node.command("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "77\n"


def state(place):
    return place.get("/netd/v1/sandboxes"), place.ruleset(), place.links(), os.listdir(place.run / "netns")


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"Networks": {"absent": {}}}, 404, "network absent not found"),
        ({"Networks": {"n": {"IPAMConfig": {"IPv4Address": "10.1.0.9"}}}}, 403, "10.1.0.9 is held by container first"),
        ({"Networks": {"n": {"IPAMConfig": {"IPv4Address": "10.1.0.1"}}}}, 403, "Address already in use"),
        ({"Networks": {"n": {"IPAMConfig": {"IPv4Address": "10.9.0.1"}}}}, 400, "10.9.0.1"),
        ({"Networks": {"n": {"MacAddress": "zork"}}}, 400, "zork"),
        ({"Networks": {"none": {}, "n": {}}}, 400, "multiple networks"),
        ({"Sysctls": {"net.nosuch.thing": "1"}}, 500, "net.nosuch.thing"),
        ({"Sysctls": {"kernel.panic": "1"}}, 400, "kernel.panic"),
        ({"Name": "a/b"}, 400, "a/b"),
        ({"Id": "zork"}, 400, "zork"),
        ({"PortBindings": {"80/tcp": [{"HostPort": "70000"}]}}, 400, "70000"),
        ({"Networks": "x"}, 400, "Networks"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(place, fields, status, words):
    place.network("n", "10.1.0.0/24")
    place.sandbox("first", {"n": {"IPAMConfig": {"IPv4Address": "10.1.0.9"}}})
    before = state(place)
    assert words in place.refusal(status, "POST", "/netd/v1/sandboxes", {**place.request("second", "n"), **fields})
    assert state(place) == before
    place.sandbox("third", {"n": {"IPAMConfig": {"IPv4Address": "10.1.0.2"}}})


def test_a_failure_of_the_kernel_leaves_nothing(place):
    """The second interface's name is refused: the first interface, addresses, names and ports are removed."""
    place.network("a", "10.1.0.0/24")
    place.network("b", "10.2.0.0/24")
    first = place.sandbox("first", "a")
    before = state(place)
    body = place.request("second", "a", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    body["Networks"]["b"] = {"DriverOpts": {"com.docker.network.endpoint.ifname": "all"}}
    place.refusal(500, "POST", "/netd/v1/sandboxes", body)
    assert state(place) == before
    assert first.resolve("second") is None
    again = place.sandbox("second", "a", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    assert again.address("a") == "10.1.0.3"


def test_the_same_container_twice_is_refused(place):
    body = place.request("web")
    place.ask(201, "POST", "/netd/v1/sandboxes", body)
    assert "web" in place.refusal(409, "POST", "/netd/v1/sandboxes", body)
    clash = body["Id"][:12] + secrets.token_hex(26)
    assert place.refusal(409, "POST", "/netd/v1/sandboxes", {**body, "Id": clash})


def test_removal_is_complete_and_may_be_repeated(place):
    before = state(place)
    asker = place.sandbox("asker")
    web = place.sandbox("web", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    for _ in range(2):
        web.remove()
    assert asker.resolve("web") is None and not os.path.exists(web.view["Netns"])
    place.refusal(404, "GET", f"/netd/v1/sandboxes/{web.id}")
    asker.remove()
    place.remove(ABSENT)
    assert state(place) == before


def test_a_rename_is_seen_everywhere(place):
    web, asker = place.sandbox("web"), place.sandbox("asker")
    place.ask(200, "POST", f"/netd/v1/sandboxes/{web.id}/rename", {"Name": "shop"})
    assert asker.resolve("shop") == [web.address()] and asker.resolve("web") is None
    assert asker.resolve(ip_address(web.address()).reverse_pointer, "PTR") == ["shop.bridge."]
    assert place.get("/networks/bridge")["Containers"][web.id]["Name"] == "shop"
    assert "shop.bridge" in place.machine.ip("link")
    place.refusal(404, "POST", f"/netd/v1/sandboxes/{ABSENT}/rename", {"Name": "x"})
    place.refusal(400, "POST", f"/netd/v1/sandboxes/{web.id}/rename", {"Name": "a b"})


def test_links_are_names_of_ones_own(place):
    place.network("n")
    db, other = place.sandbox("db", "n"), place.sandbox("other", "n")
    web = place.sandbox("web", {"n": {"Links": ["db:database"]}})
    assert web.resolve("database") == [db.address("n")] and other.resolve("database") is None


def test_a_running_container_is_connected_and_disconnected(place):
    place.network("front", "10.1.0.0/24")
    place.network("back", "10.2.0.0/24")
    db, app = place.sandbox("db", "back"), place.sandbox("app", "front")
    assert app.resolve("db") is None
    place.connect("back", "app", Aliases=["api"])
    assert app.resolve("db") == ["10.2.0.2"] and db.resolve("api") == ["10.2.0.3"]
    assert app.settings["Networks"]["back"]["Aliases"] == ["api"]
    assert "eth1" in app.node.ip("link") and app.gateway() == "10.2.0.1"
    assert place.view(app.id)["Hosts"].splitlines()[-2:] == [f"10.1.0.2\t{app.id[:12]}", f"10.2.0.3\t{app.id[:12]}"]
    place.disconnect("back", "app")
    assert list(app.settings["Networks"]) == ["front"] and "eth1" not in app.node.ip("link")
    assert app.gateway() == "10.1.0.1" and db.resolve("api") is None
    assert place.view(app.id)["Hosts"].count(app.id[:12]) == 1


def test_the_last_network_may_go_and_come_back(place):
    web = place.sandbox("web")
    place.disconnect("bridge", "web")
    assert (web.settings["Networks"], web.settings["Ports"], web.gateway()) == ({}, {}, None)
    place.connect("bridge", web.id)
    assert "eth0" in web.node.ip("link") and web.resolve("web") == [web.address()]


def test_a_container_without_network_may_be_given_one(place):
    web = place.sandbox("web", NetworkMode="none")
    assert "none" in place.refusal(400, "POST", "/networks/bridge/connect", {"Container": "web"})
    place.disconnect("none", "web")
    place.connect("default", "web")
    assert web.resolve("web") == [web.address()]


@pytest.mark.parametrize(
    ("network", "container", "status", "words"),
    [
        ("n", "absent", 404, "No such container: absent"),
        ("n", "", 400, 'invalid name or ID supplied: ""'),
        ("absent", "web", 404, "network absent not found"),
        ("bridge", "web", 403, "endpoint with name web already exists in network bridge"),
        ("host", "web", 400, "container must be created in host network mode"),
        ("none", "web", 400, "private (none) mode"),
        ("n", "h", 400, "container sharing network namespace"),
    ],
)
def test_connections_that_cannot_be(place, network, container, status, words):
    place.network("n")
    place.sandbox("web")
    place.sandbox("h", NetworkMode="host")
    before = state(place)
    assert words in place.refusal(status, "POST", f"/networks/{network}/connect", {"Container": container})
    assert state(place) == before


def test_disconnections_that_cannot_be(place):
    place.network("n")
    web = place.sandbox("web")
    place.sandbox("h", NetworkMode="host")

    def refusal(status, network, container, **more):
        body = {"Container": container, **more}
        return place.refusal(status, "POST", f"/networks/{network}/disconnect", body)

    assert refusal(500, "n", "web") == f"container {web.id} is not connected to network n"
    assert "host network mode" in refusal(400, "host", "h")
    assert "No such container: x" in refusal(404, "n", "x")
    assert "endpoint x not found" in refusal(404, "n", "x", Force=True)


def test_bodies_are_read_as_docker_reads_them(place):
    assert place.refusal(400, "POST", "/netd/v1/sandboxes", None)
    status, said = place.call("POST", "/networks/create", [1])
    assert status == 400 and "invalid JSON" in said["message"]


def mounted(place):
    return sorted(path.name for path in (place.run / "netns").iterdir())


def test_a_namespace_that_the_runtime_made_is_furnished_and_let_go(place):
    """A namespace created by the runtime, as for a container with a user namespace."""
    made = place.lab.make_host("given")
    path = f"/proc/{os.getpid()}/fd/{made.fd}"
    box = place.sandbox("web", Netns=path, Sysctls={"net.ipv4.ip_unprivileged_port_start": "7"})
    assert os.stat(box.view["Netns"]).st_ino == os.fstat(made.fd).st_ino
    assert json.loads(made.ip("-j -4 addr show eth0"))[0]["addr_info"][0]["local"] == box.address()
    assert made.command("sysctl", "-n", "net.ipv4.ip_unprivileged_port_start").strip() == "7"
    box.remove()
    assert mounted(place) == []


@pytest.mark.parametrize("kind", ["own", "file", "absent", "relative", "other"])
def test_what_is_no_namespace_for_a_sandbox_is_refused_and_nothing_is_left(place, kind, tmp_path):
    (tmp_path / "file").touch()
    paths = {
        "own": f"/proc/{os.getpid()}/fd/{place.machine.fd}",
        "file": str(tmp_path / "file"),
        "absent": str(tmp_path / "absent"),
        "relative": "netns/x",
        "other": "/proc/self/ns/uts",
    }
    status, said = place.call("POST", "/netd/v1/sandboxes", place.request("web", Netns=paths[kind]))
    assert status in (400, 500) and paths[kind] in said["message"]
    assert mounted(place) == []


def test_a_given_namespace_is_let_go_when_the_sandbox_fails(place):
    made = place.lab.make_host("given")
    place.sandbox("first", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    before = mounted(place)
    body = place.request("web", Netns=f"/proc/{os.getpid()}/fd/{made.fd}", NetworkMode="nosuch")
    assert place.call("POST", "/netd/v1/sandboxes", body)[0] == 404
    conflicting = place.request(
        "web", Netns=f"/proc/{os.getpid()}/fd/{made.fd}", PortBindings={"80/tcp": [{"HostPort": "8080"}]}
    )
    assert place.call("POST", "/netd/v1/sandboxes", conflicting)[0] >= 400
    assert mounted(place) == before
