"""Networks: create bodies, connect and disconnect, endpoints in create requests, inspect."""

from __future__ import annotations

from typing import Any

from tests.differential.recorder import PREFIX, Recorder

_CREATE: dict[str, dict[str, Any]] = {
    "plain": {},
    "driver bridge": {"Driver": "bridge"},
    "unknown driver": {"Driver": "nosuch"},
    "driver host": {"Driver": "host"},
    "driver null": {"Driver": "null"},
    "internal": {"Internal": True},
    "attachable": {"Attachable": True},
    "ingress": {"Ingress": True},
    "labels": {"Labels": {"a": "b"}},
    "unknown scope": {"Scope": "nosuch"},
    "scope local": {"Scope": "local"},
    "scope swarm": {"Scope": "swarm"},
    "config only": {"ConfigOnly": True},
    "config from nothing": {"ConfigFrom": {"Network": "dx-nosuch"}},
    "IPv6 without a subnet": {"EnableIPv6": True},
    "IPv4 off": {"EnableIPv4": False, "EnableIPv6": True},
    "both off": {"EnableIPv4": False, "EnableIPv6": False},
    "subnet": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/24"}]}},
    "subnet and gateway": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/24", "Gateway": "10.77.0.9"}]}},
    "subnet and range": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/24", "IPRange": "10.77.0.128/25"}]}},
    "subnet with host bits": {"IPAM": {"Config": [{"Subnet": "10.77.0.5/24"}]}},
    "invalid subnet": {"IPAM": {"Config": [{"Subnet": "10.77.0.0"}]}},
    "subnet of 33 bits": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/33"}]}},
    "subnet /31": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/31"}]}},
    "subnet /32": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/32"}]}},
    "gateway outside": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/24", "Gateway": "10.78.0.1"}]}},
    "gateway invalid": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/24", "Gateway": "x"}]}},
    "gateway without subnet": {"IPAM": {"Config": [{"Gateway": "10.77.0.1"}]}},
    "range outside": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/24", "IPRange": "10.78.0.0/25"}]}},
    "range larger": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/24", "IPRange": "10.77.0.0/16"}]}},
    "range without subnet": {"IPAM": {"Config": [{"IPRange": "10.77.0.0/25"}]}},
    "auxiliary addresses": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/24", "AuxiliaryAddresses": {"r": "10.77.0.7"}}]}},
    "auxiliary address outside": {
        "IPAM": {"Config": [{"Subnet": "10.77.0.0/24", "AuxiliaryAddresses": {"r": "10.78.0.7"}}]}
    },
    "two subnets of a family": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/24"}, {"Subnet": "10.78.0.0/24"}]}},
    "two equal subnets": {"IPAM": {"Config": [{"Subnet": "10.77.0.0/24"}, {"Subnet": "10.77.0.0/24"}]}},
    "IPv6 subnet": {"EnableIPv6": True, "IPAM": {"Config": [{"Subnet": "2001:db8:77::/64"}]}},
    "IPv6 link-local subnet": {"EnableIPv6": True, "IPAM": {"Config": [{"Subnet": "fe80::/64"}]}},
    "IPv6 subnet without EnableIPv6": {"IPAM": {"Config": [{"Subnet": "2001:db8:77::/64"}]}},
    "IPAM driver null": {"IPAM": {"Driver": "null"}},
    "unknown IPAM driver": {"IPAM": {"Driver": "nosuch"}},
    "IPAM options": {"IPAM": {"Options": {"a": "b"}}},
    "unknown driver option": {"Options": {"nosuch": "x"}},
    "MTU": {"Options": {"com.docker.network.driver.mtu": "1400"}},
    "MTU not a number": {"Options": {"com.docker.network.driver.mtu": "x"}},
    "MTU negative": {"Options": {"com.docker.network.driver.mtu": "-1"}},
    "bridge name": {"Options": {"com.docker.network.bridge.name": "dx-br0"}},
    "bridge name too long": {"Options": {"com.docker.network.bridge.name": "a" * 16}},
    "masquerade off": {"Options": {"com.docker.network.bridge.enable_ip_masquerade": "false"}},
    "masquerade not a boolean": {"Options": {"com.docker.network.bridge.enable_ip_masquerade": "x"}},
    "icc off": {"Options": {"com.docker.network.bridge.enable_icc": "false"}},
    "host binding": {"Options": {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}},
    "host binding invalid": {"Options": {"com.docker.network.bridge.host_binding_ipv4": "x"}},
    "gateway mode": {"Options": {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}},
    "gateway mode unknown": {"Options": {"com.docker.network.bridge.gateway_mode_ipv4": "x"}},
    "an unknown field": {"NoSuchField": 1},
    "labels a list": {"Labels": []},
    "internal a string": {"Internal": "yes"},
}
_NAMES = {
    "empty": "",
    "one letter": "z",
    "bridge": "bridge",
    "host": "host",
    "default": "default",
    "with a blank": "dx- a",
    "with a leading hyphen": "-dx",
    "with a slash": "dx-/a",
    "with a colon": "dx-:a",
    "of 65 letters": "dx-" + "n" * 62,
    "with an accent": "dx-é",
    "container": "container:x",
    "upper case": "dx-UPPER",
}
_CONNECT: dict[str, dict[str, Any]] = {
    "plain": {},
    "alias": {"Aliases": ["web"]},
    "alias empty": {"Aliases": [""]},
    "alias with a blank": {"Aliases": ["a b"]},
    "address": {"IPAMConfig": {"IPv4Address": "10.77.0.50"}},
    "address outside": {"IPAMConfig": {"IPv4Address": "10.78.0.50"}},
    "address invalid": {"IPAMConfig": {"IPv4Address": "x"}},
    "address of the gateway": {"IPAMConfig": {"IPv4Address": "10.77.0.1"}},
    "address of the network": {"IPAMConfig": {"IPv4Address": "10.77.0.0"}},
    "IPv6 address": {"IPAMConfig": {"IPv6Address": "2001:db8::5"}},
    "link-local addresses": {"IPAMConfig": {"LinkLocalIPs": ["169.254.3.4"]}},
    "link-local addresses invalid": {"IPAMConfig": {"LinkLocalIPs": ["x"]}},
    "MAC address": {"MacAddress": "02:42:0a:4d:00:99"},
    "MAC address invalid": {"MacAddress": "x"},
    "gateway priority": {"GwPriority": 5},
    "driver options": {"DriverOpts": {"com.docker.network.endpoint.ifname": "dx0"}},
    "driver options unknown": {"DriverOpts": {"nosuch": "1"}},
    "links": {"Links": ["nosuch:x"]},
}
_ENDPOINTS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "NetworkMode bridge": ({"NetworkMode": "bridge"}, None),
    "NetworkMode default": ({"NetworkMode": "default"}, None),
    "NetworkMode none": ({"NetworkMode": "none"}, None),
    "NetworkMode host": ({"NetworkMode": "host"}, None),
    "NetworkMode a network": ({"NetworkMode": "dx-net"}, None),
    "NetworkMode no such network": ({"NetworkMode": "dx-nosuch"}, None),
    "NetworkMode container not there": ({"NetworkMode": "container:nosuch"}, None),
    "NetworkMode container without a name": ({"NetworkMode": "container:"}, None),
    "NetworkMode upper case": ({"NetworkMode": "HOST"}, None),
    "endpoint": ({"NetworkMode": "dx-net"}, {"dx-net": {}}),
    "endpoint null": ({"NetworkMode": "dx-net"}, {"dx-net": None}),
    "endpoint of another network": ({"NetworkMode": "bridge"}, {"dx-net": {}}),
    "two endpoints": ({"NetworkMode": "dx-net"}, {"dx-net": {}, "bridge": {}}),
    "endpoint of no network": ({"NetworkMode": "dx-net"}, {"dx-nosuch": {}}),
    "endpoint address": ({"NetworkMode": "dx-net"}, {"dx-net": {"IPAMConfig": {"IPv4Address": "10.77.0.50"}}}),
    "endpoint address outside": ({"NetworkMode": "dx-net"}, {"dx-net": {"IPAMConfig": {"IPv4Address": "10.9.0.5"}}}),
    "endpoint address invalid": ({"NetworkMode": "dx-net"}, {"dx-net": {"IPAMConfig": {"IPv4Address": "x"}}}),
    "endpoint address on bridge": (
        {"NetworkMode": "bridge"},
        {"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}},
    ),
    "endpoint aliases": ({"NetworkMode": "dx-net"}, {"dx-net": {"Aliases": ["web"]}}),
    "endpoint aliases on bridge": ({"NetworkMode": "bridge"}, {"bridge": {"Aliases": ["web"]}}),
    "endpoint alias empty": ({"NetworkMode": "dx-net"}, {"dx-net": {"Aliases": [""]}}),
    "endpoint MAC": ({"NetworkMode": "dx-net"}, {"dx-net": {"MacAddress": "02:42:0a:4d:00:99"}}),
    "endpoint MAC invalid": ({"NetworkMode": "dx-net"}, {"dx-net": {"MacAddress": "x"}}),
    "endpoint on host": ({"NetworkMode": "host"}, {"host": {}}),
    "endpoint on host with an alias": ({"NetworkMode": "host"}, {"host": {"Aliases": ["x"]}}),
    "endpoint priority": ({"NetworkMode": "dx-net"}, {"dx-net": {"GwPriority": -3}}),
    "host and another": ({"NetworkMode": "host"}, {"dx-net": {}}),
    "PortBindings": ({"PortBindings": {"80/tcp": [{"HostPort": "38080"}]}}, None),
    "PortBindings address": ({"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "38080"}]}}, None),
    "PortBindings any port": ({"PortBindings": {"80/tcp": [{}]}}, None),
    "PortBindings null": ({"PortBindings": {"80/tcp": None}}, None),
    "PortBindings range": ({"PortBindings": {"80/tcp": [{"HostPort": "38080-38090"}]}}, None),
    "PortBindings 65536": ({"PortBindings": {"80/tcp": [{"HostPort": "65536"}]}}, None),
    "PortBindings -1": ({"PortBindings": {"80/tcp": [{"HostPort": "-1"}]}}, None),
    "PortBindings not a number": ({"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}, None),
    "PortBindings invalid address": ({"PortBindings": {"80/tcp": [{"HostIp": "x", "HostPort": "38080"}]}}, None),
    "PortBindings unknown protocol": ({"PortBindings": {"80/icmp": [{"HostPort": "38080"}]}}, None),
    "PortBindings container port 0": ({"PortBindings": {"0/tcp": [{"HostPort": "38080"}]}}, None),
    "PortBindings on host": ({"NetworkMode": "host", "PortBindings": {"80/tcp": [{"HostPort": "38080"}]}}, None),
    "Hostname on host": ({"NetworkMode": "host"}, None),
}


def networks(recorder: Recorder) -> None:
    for name, body in _CREATE.items():
        _create_and_inspect(recorder, name, {"Name": "dx-net", **body})
    for name, value in _NAMES.items():
        _create_and_inspect(recorder, f"name {name}", {"Name": value}, inspect=False)
    recorder.prepare("POST", "/networks/create", {"Name": "dx-net", "IPAM": {"Config": [{"Subnet": "10.77.0.0/24"}]}})
    recorder.call("name in use", "POST", "/networks/create", {"Name": "dx-net"})
    recorder.call(
        "subnet in use", "POST", "/networks/create", {"Name": "dx-n2", "IPAM": {"Config": [{"Subnet": "10.77.0.0/25"}]}}
    )
    recorder.create("c", start=True)
    for name, endpoint in _CONNECT.items():
        _connect(recorder, name, endpoint)
    recorder.call("connect no such container", "POST", "/networks/dx-net/connect", {"Container": "dx-nosuch"})
    recorder.call("connect no container", "POST", "/networks/dx-net/connect", {})
    recorder.call("connect to no network", "POST", "/networks/dx-nosuch/connect", {"Container": "dx-c"})
    recorder.call("connect to host", "POST", "/networks/host/connect", {"Container": "dx-c"})
    recorder.call("connect to none", "POST", "/networks/none/connect", {"Container": "dx-c"})
    recorder.call("disconnect what is not connected", "POST", "/networks/dx-net/disconnect", {"Container": "dx-c"})
    recorder.call("disconnect no container", "POST", "/networks/dx-net/disconnect", {"Container": "dx-nosuch"})
    recorder.send("POST", "/networks/dx-net/connect", {"Container": "dx-c"})
    recorder.call("connect twice", "POST", "/networks/dx-net/connect", {"Container": "dx-c"})
    recorder.call("remove in use", "DELETE", "/networks/dx-net")
    recorder.call("inspect in use", "GET", "/networks/dx-net")
    recorder.call("inspect by a wrong scope", "GET", "/networks/dx-net?scope=swarm")
    recorder.call("inspect verbose", "GET", "/networks/dx-net?verbose=true")
    recorder.remove("c")
    recorder.call("remove", "DELETE", "/networks/dx-net")
    recorder.call("remove again", "DELETE", "/networks/dx-net")
    recorder.call("inspect no network", "GET", "/networks/dx-net")
    for predefined in ("bridge", "host", "none"):
        recorder.call(f"remove {predefined}", "DELETE", f"/networks/{predefined}")
    recorder.call("inspect host", "GET", "/networks/host")
    recorder.call("inspect none", "GET", "/networks/none")
    recorder.call("inspect bridge", "GET", "/networks/bridge", show=_without_containers)
    recorder.call("inspect by version 1.44", "GET", "/networks/none", version="1.44")


def _without_containers(body: Any) -> Any:
    return {**body, "Containers": {}}


def _create_and_inspect(recorder: Recorder, name: str, body: dict[str, Any], *, inspect: bool = True) -> None:
    answer = recorder.call(name, "POST", "/networks/create", body)
    if answer.status == 201:
        identity = answer.body["Id"]
        if inspect:
            recorder.call(f"{name} inspect", "GET", f"/networks/{identity}")
        recorder.send("DELETE", f"/networks/{identity}")
    else:
        recorder.renew_subnets()


def _connect(recorder: Recorder, name: str, endpoint: dict[str, Any]) -> None:
    answer = recorder.call(
        f"connect {name}", "POST", "/networks/dx-net/connect", {"Container": "dx-c", "EndpointConfig": endpoint}
    )
    if answer.status == 200:
        shown = recorder.inspected("c")["NetworkSettings"]["Networks"]["dx-net"]
        recorder.keep(f"connect {name} inspect", shown)
        recorder.call(f"disconnect {name}", "POST", "/networks/dx-net/disconnect", {"Container": "dx-c"})


def endpoints(recorder: Recorder) -> None:
    recorder.prepare("POST", "/networks/create", {"Name": "dx-net", "IPAM": {"Config": [{"Subnet": "10.77.0.0/24"}]}})
    for name, (host, networking) in _ENDPOINTS.items():
        config = {"Hostname": "box"} if name == "Hostname on host" else {}
        recorder.option(name, host, {"EndpointsConfig": networking} if networking is not None else None, **config)
    recorder.create("peer", start=True)
    for name, options in {
        "plain": {},
        "with a hostname": {"Hostname": "x"},
        "with exposed ports": {"ExposedPorts": {"80/tcp": {}}},
        "with a MAC address": {"MacAddress": "02:42:0a:4d:00:99"},
    }.items():
        recorder.option(f"NetworkMode container {name}", {"NetworkMode": f"container:{PREFIX}peer"}, **options)
    for name, host in {
        "ports": {"PortBindings": {"80/tcp": [{"HostPort": "38080"}]}},
        "dns": {"Dns": ["192.0.2.1"]},
        "extra hosts": {"ExtraHosts": ["a:192.0.2.1"]},
        "links": {"Links": ["dx-peer:x"]},
        "all ports": {"PublishAllPorts": True},
    }.items():
        recorder.option(f"NetworkMode container with {name}", {"NetworkMode": f"container:{PREFIX}peer", **host})
    recorder.option("PidMode container", {"PidMode": f"container:{PREFIX}peer"})
    recorder.option("IpcMode container that is private", {"IpcMode": f"container:{PREFIX}peer"})
    recorder.option("VolumesFrom", {"VolumesFrom": [f"{PREFIX}peer:ro"]})
    recorder.remove("peer")
    recorder.send("DELETE", "/networks/dx-net")
