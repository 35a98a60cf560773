"""What every start would refuse is refused at create, and when a stopped container is connected or given ports."""

from __future__ import annotations

import pytest

from tests.installation import IMAGE
from tests.raw_client import RawClient

NETWORK = "refusals"


@pytest.fixture
def call(place, api):
    return RawClient(place.run / "docker.sock").call


@pytest.fixture(scope="module")
def network(place):
    client = RawClient(place.run / "docker.sock")
    body = {"Name": NETWORK, "IPAM": {"Config": [{"Subnet": "10.77.0.0/24"}]}}
    assert client.call("POST", "/networks/create", body)[0] == 201
    yield NETWORK
    client.call("DELETE", f"/networks/{NETWORK}")


def endpoint(**settings):
    return {"HostConfig": {"NetworkMode": NETWORK}, "NetworkingConfig": {"EndpointsConfig": {NETWORK: settings}}}


def host(**fields):
    return {"HostConfig": fields}


OPTION = "com.docker.network.endpoint."
REFUSED = {
    "an empty alias": (400, endpoint(Aliases=[""])),
    "an alias with a space": (400, endpoint(Aliases=["a b"])),
    "a wildcard that is not first": (400, endpoint(Aliases=["a.*"])),
    "a MAC that is none": (400, endpoint(MacAddress="xx")),
    "a multicast MAC": (400, endpoint(MacAddress="01:00:00:00:00:01")),
    "a container-wide MAC that is none": (400, {"MacAddress": "zz"}),
    "a MAC on the host": (400, {"MacAddress": "02:42:aa:aa:aa:aa", **host(NetworkMode="host")}),
    "a MAC in another container": (400, {"MacAddress": "02:42:aa:aa:aa:aa", **host(NetworkMode="container:donor")}),
    "an address outside": (400, endpoint(IPAMConfig={"IPv4Address": "10.99.0.5"})),
    "an address of no family of the network": (400, endpoint(IPAMConfig={"IPv6Address": "fd00::5"})),
    "the gateway's address": (403, endpoint(IPAMConfig={"IPv4Address": "10.77.0.1"})),
    "the last address": (403, endpoint(IPAMConfig={"IPv4Address": "10.77.0.255"})),
    "a link-local address": (400, endpoint(IPAMConfig={"LinkLocalIPs": ["169.254.3.3"]})),
    "an unknown option": (400, endpoint(DriverOpts={"com.docker.network.foo": "x"})),
    "an invalid name of the interface": (400, endpoint(DriverOpts={f"{OPTION}ifname": "a b"})),
    "a sysctl of an interface by its name": (
        400,
        endpoint(DriverOpts={f"{OPTION}sysctls": "net.ipv4.conf.eth0.forwarding=1"}),
    ),
    "a link that is none": (400, endpoint(Links=["bad:a b"])),
    "a link-local host address": (400, host(PortBindings={"80/tcp": [{"HostIp": "fe80::1", "HostPort": "8706"}]})),
    "ranges of different sizes": (400, host(PortBindings={"80-82/tcp": [{"HostPort": "8000-8001"}]})),
    "an unknown protocol": (400, host(PortBindings={"80/foo": [{"HostPort": "8010"}]})),
    "a hostname with a space": (400, {"Hostname": "a b"}),
    "a hostname of two lines": (400, {"Hostname": "a\nb"}),
    "a domain with a space": (400, {"Domainname": "a b"}),
    "a domain that is too long": (400, {"Domainname": "a" * 65}),
    "a DNS option with a space": (400, host(DnsOptions=["a b"])),
    "a search domain with a space": (400, host(DnsSearch=["a b"])),
    "a host name with a space": (400, host(ExtraHosts=["a b:1.2.3.4"])),
    "an IPC namespace that is not shared": (400, host(IpcMode="container:donor")),
    "a sysctl that is not of a namespace": (400, host(Sysctls={"net.foo": "1"})),
    "a name that is too long": (400, {"name": "a" * 254}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_create_refuses_what_start_refuses(call, make, network, what):
    make(name="donor")
    status, body = REFUSED[what]
    body = {"Image": IMAGE, "Cmd": ["true"], **body}
    got, answer = call("POST", f"/containers/create?name={body.pop('name', 'refused')}", body)
    assert got == status and answer["message"], answer
    assert call("GET", "/containers/refused/json")[0] == 404


def test_what_may_be_there_at_the_start_is_accepted(call, network):
    for body in (
        host(NetworkMode="not-yet"),
        host(PortBindings={"80/tcp": [{"HostIp": "10.123.1.1", "HostPort": "8706"}]}),
        endpoint(IPAMConfig={"IPv4Address": "10.77.0.9"}),
        endpoint(IPAMConfig={"IPv4Address": "10.77.0.9"}),
    ):
        assert call("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], **body})[0] == 201


def test_a_stopped_container_is_not_connected_with_what_its_start_refuses(call, make, network):
    made = make(host={"NetworkMode": "bridge"})
    body = {"Container": made, "EndpointConfig": {"Aliases": ["a b"]}}
    assert call("POST", f"/networks/{network}/connect", body)[0] == 400
    assert list(call("GET", f"/containers/{made}/json")[1]["NetworkSettings"]["Networks"]) == ["bridge"]
    assert call("POST", f"/containers/{made}/start")[0] == 204


def test_a_stopped_container_gets_no_port_that_its_start_refuses(call, make):
    made = make(host={"NetworkMode": "bridge"})
    body = {"PortBindings": {"80/tcp": [{"HostIp": "fe80::1", "HostPort": "8706"}]}}
    assert call("POST", f"/netd/v1/containers/{made}/ports", body)[0] == 400
    assert not call("GET", f"/containers/{made}/json")[1]["HostConfig"]["PortBindings"]
