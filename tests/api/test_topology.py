"""The topology in one piece, and the stream of its changes."""

import http.client
import json
import socket
from contextlib import contextmanager

import pytest


@contextmanager
def stream(site, path="/netd/v1/topology/stream"):
    """Yield an iterator over the events of the stream: (name, data)."""
    connection = http.client.HTTPConnection("netd")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(20)
    connection.sock.connect(str(site.run / "netd.sock"))
    with connection.sock:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200 and response.headers["Content-Type"] == "text/event-stream"
        yield events(response)


def events(response):
    name = ""
    while line := response.readline().decode():
        key, _, value = line.rstrip("\n").partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            yield name, json.loads(value)


def names(topology):
    networks = {network["Id"]: network["Name"] for network in topology["Networks"]}
    return {
        container["Name"]: {networks[endpoint["Network"]] for endpoint in container["Endpoints"]}
        for container in topology["Containers"]
    }


@pytest.fixture
def site_with_route(place):
    place.machine.ip("route add default via 198.51.100.2")
    place.machine.ip("route add default via 198.51.100.2 dev eth0 metric 50 table 77")
    yield place
    place.machine.ip("route del default")


def test_the_topology_has_networks_containers_ports_and_ways_out(site_with_route):
    place = site_with_route
    place.network("n", "10.1.0.0/24")
    place.network("deep", "10.2.0.0/24", Internal=True)
    web = place.sandbox(
        "web",
        {"n": {"Aliases": ["www"]}, "deep": {}},
        PortBindings={"80/tcp": [{"HostPort": "8080", "Allow": ["192.0.2.0/24"]}]},
    )
    found = place.get("/netd/v1/topology")
    assert found["Uplinks"] == {"4": ["eth0"], "6": []}
    networks = {network["Name"]: network for network in found["Networks"]}
    assert set(networks) == {"bridge", "host", "none", "n", "deep"}
    assert networks["n"]["Pools"][0] | {"Used": 0, "Free": 0} == {
        "Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1", "Range": "", "Used": 0, "Free": 0
    }  # fmt: skip
    assert networks["n"]["WaysOut"] == [{"Family": 4, "Kind": "masquerade", "Source": "", "Links": ["eth0"]}]
    assert networks["deep"]["WaysOut"][0]["Kind"] == "none" and networks["deep"]["Internal"]
    container = found["Containers"][0]
    assert container["State"] == "", "netd does not know whether it is paused"
    assert container["Name"] == "web" and names(found) == {"web": {"n", "deep"}}
    port = container["Ports"][0]
    assert (port["Address"], port["Port"], port["Target"]) == ("0.0.0.0", 8080, 80) and port["Allow"] == [
        "192.0.2.0/24"
    ]
    endpoint = next(e for e in container["Endpoints"] if e["Network"] == networks["n"]["Id"])
    assert endpoint["Aliases"] == ["www"] and endpoint["Addresses"] == ["10.1.0.2/24"]
    rule = found["Reach"][networks["n"]["Zone"]][networks["deep"]["Zone"]][0]
    assert (rule["Access"], rule["Families"]) == ("none", [4])
    before = found["Traffic"][endpoint["Id"]]
    web.node.command("busybox", "ping", "-c", "2", "-i", "0.05", "-s", "500", "10.1.0.1")
    place.sandbox("later", "n")
    after = place.get("/netd/v1/topology")["Traffic"][endpoint["Id"]]
    assert after[0] - before[0] > 1000 and after[3] - before[3] > 1000


def test_the_stream_sends_changes_of_records_and_of_counters(place):
    place.network("n", "10.1.0.0/24")
    with stream(place) as messages:
        name, first = next(messages)
        assert name == "topology" and names(first) == {} and "Traffic" in first
        place.sandbox("web", "n")
        assert next(changed for name, changed in messages if name == "topology" and names(changed) == {"web": {"n"}})
        assert next(found for name, found in messages if name == "traffic" and found["Traffic"])
        place.connect("bridge", "web")
        assert next(
            changed for name, changed in messages if name == "topology" and names(changed) == {"web": {"n", "bridge"}}
        )


def test_a_stream_ends_with_netd(site):
    with stream(site) as messages:
        next(messages)
        site.stop()
        assert [name for name, _ in messages] in ([], ["traffic"])
    site.start()
