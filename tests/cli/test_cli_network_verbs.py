"""Requests, output and exit codes of the verbs of networks, with recorded responses of Docker."""

import json

import pytest
from recorded import NETWORKS


def test_networks_are_listed_by_name_as_docker_lists_them(peer, netctl):
    peer.on("GET", "/networks", NETWORKS)
    assert netctl("network", "ls").out == (
        "NETWORK ID     NAME      DRIVER    SCOPE     SUBNETS         CONTAINERS\n"
        "260e5b67d9f2   bridge    bridge    local     172.17.0.0/16   0\n"
        "f88201f012f6   host      host      local     172.17.0.0/16   0\n"
        "5774b712ce97   none      null      local     172.17.0.0/16   0\n"
    )
    assert netctl("network", "ls", "-q").out == "260e5b67d9f2\nf88201f012f6\n5774b712ce97\n"
    assert netctl("network", "ls", "-q", "--no-trunc").out.splitlines()[0] == NETWORKS[2]["Id"]
    lines = netctl("network", "list", "--format", "json").out.splitlines()
    assert [json.loads(line)["Name"] for line in lines] == ["bridge", "host", "none"]
    shown = netctl("network", "ls", "--format", r'table {{.Name}}\t{{.Driver}}\t{{.Label "a.b"}}').out
    assert shown.splitlines()[:2] == ["NAME      DRIVER    b", "bridge    bridge"]
    assert netctl("network", "ls", "--format", "{{.Name}}/{{.Subnets}}").out.splitlines()[0] == "bridge/172.17.0.0/16"


def test_filters_travel_as_the_api_has_them(peer, netctl):
    peer.on("GET", "/networks", [])
    netctl("network", "ls", "-f", "driver=bridge", "--filter", "label=a=b", "-f", "label=c")
    wanted = {"driver": {"bridge": True}, "label": {"a=b": True, "c": True}}
    assert json.loads(peer.asked[0].query["filters"]) == wanted
    said = netctl("network", "ls", "-f", "zork")
    assert said.code == 125 and 'invalid argument "zork" for "-f, --filter" flag: use key=value' in said.err


def test_a_network_is_created_with_all_that_was_said(peer, netctl):
    peer.on("POST", "/networks/create", (201, {"Id": "f04c", "Warning": "mind the gap"}))
    said = netctl(
        "network", "create", "--drive", "bridge", "--subnet", "172.18.0.0/16", "--gateway=172.18.0.1", "--ip-range",
        "172.18.5.0/24", "--aux-address", "r=172.18.0.9", "--internal", "--label", "a=b", "-o", "k=v", "--ipv6", "shop",
    )  # fmt: skip
    assert (said.code, said.out, said.err) == (0, "f04c\n", "netctl: warning: mind the gap\n")
    assert peer.asked[0].json == {
        "Name": "shop",
        "Driver": "bridge",
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": [
                {
                    "Subnet": "172.18.0.0/16",
                    "IPRange": "172.18.5.0/24",
                    "Gateway": "172.18.0.1",
                    "AuxiliaryAddresses": {"r": "172.18.0.9"},
                }
            ],
        },
        "Internal": True,
        "Attachable": False,
        "Options": {"k": "v"},
        "Labels": {"a": "b"},
        "EnableIPv6": True,
    }


def test_each_gateway_goes_to_the_subnet_that_holds_it(peer, netctl):
    peer.on("POST", "/networks/create", (201, {"Id": "x", "Warning": ""}))
    subnets = ("--subnet", "fd00::/64", "--subnet", "10.1.0.0/16")
    assert netctl("network", "create", *subnets, "--gateway", "10.1.0.1", "--gateway", "fd00::1", "n").code == 0
    assert peer.asked[0].json["IPAM"]["Config"] == [
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
        {"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.1"},
    ]
    for words, part in (
        ((*subnets, "--gateway", "10.2.0.1"), "no --subnet contains --gateway 10.2.0.1"),
        (("--gateway", "10.2.0.1"), "--gateway 10.2.0.1 needs a --subnet"),
        (
            ("--subnet=10.0.0.0/8", "--gateway=10.0.0.1", "--gateway=10.0.0.2"),
            "two values of --gateway: 10.0.0.1 and 10.0.0.2",
        ),
        ((*subnets, "--gateway", "zork"), 'invalid argument "zork" for "--gateway" flag'),
    ):
        said = netctl("network", "create", *words, "n")
        assert said.code == 125 and part in said.err


def test_a_container_is_connected_and_disconnected(peer, netctl):
    peer.on("POST", "/networks/n/(dis)?connect", (200, None))
    assert netctl("network", "connect", "--ip", "10.0.0.5", "--alias", "a", "--driver-opt=k=v", "n", "c").code == 0
    assert netctl("network", "connect", "n", "c").code == 0
    assert netctl("network", "disconnect", "-f", "n", "c").code == 0
    first, second, third = (request.json for request in peer.asked)
    endpoint = {"IPAMConfig": {"IPv4Address": "10.0.0.5"}, "Aliases": ["a"], "DriverOpts": {"k": "v"}}
    assert first == {"Container": "c", "EndpointConfig": endpoint}
    assert second == {"Container": "c", "EndpointConfig": {}}
    assert third == {"Container": "c", "Force": True}


def test_of_many_the_good_ones_are_done_and_the_bad_ones_told(peer, netctl):
    peer.on("DELETE", "/networks/(a|c)", (204, None))
    peer.on("DELETE", "/networks/b", (403, {"message": "network b has active endpoints"}))
    said = netctl("network", "rm", "a", "b", "c")
    assert (said.code, said.out, said.err) == (1, "a\nc\n", "netctl: network b has active endpoints\n")


def test_network_verbs_work_with_netd_alone(peer, netctl, run_dir):
    peer.path.rename(run_dir / "netd.sock")
    peer.on("GET", "/networks", NETWORKS)
    peer.on("GET", "/networks/bridge", NETWORKS[2])
    assert "bridge" in netctl("network", "ls").out
    assert json.loads(netctl("network", "inspect", "bridge").out) == [NETWORKS[2]]
    said = netctl("ps")
    assert said.code == 1 and f"cannot reach netd-runtime at {run_dir}/docker.sock" in said.err


@pytest.mark.parametrize(("answer", "asked"), [("y\n", 1), ("Y\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_pruning_asks_first(peer, start, answer, asked):
    peer.on("POST", "/networks/prune", {"NetworksDeleted": ["old"]})
    process = start("network", "prune")
    out, _ = process.communicate(answer.encode(), timeout=10)
    assert process.returncode == 0 and len(peer.asked) == asked
    assert out.startswith(b"WARNING! This will remove all custom networks") and (b"old\n" in out) == bool(asked)


def test_a_network_is_shown_to_people_as_lines_and_a_table(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_700_000_120.0)
    shop = {
        "Name": "shop", "Id": "f04c", "Driver": "bridge", "Created": "2023-11-14T22:13:20.5Z", "Internal": True,
        "EnableIPv6": False, "Labels": {"tier": "front\n"}, "Options": {},
        "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1"}]},
        "Status": {"IPAM": {"Subnets": {"10.1.0.0/24": {"IPsInUse": 4, "DynamicIPsAvailable": 252}}}},
        "Containers": {"x": {"Name": "web", "IPv4Address": "10.1.0.2/24", "IPv6Address": "", "MacAddress": "02:42"}},
    }  # fmt: skip
    peer.on("GET", "/networks/shop", shop)
    assert netctl("network", "inspect", "--format", "pretty", "shop").out == (
        "Name:        shop\n"
        "Id:          f04c\n"
        "Driver:      bridge\n"
        "Created:     About a minute ago (2023-11-14T22:13:20.5Z)\n"
        "Subnet:      10.1.0.0/24 (gateway 10.1.0.1)\n"
        "Addresses:   4 in use, 252 free in 10.1.0.0/24\n"
        "Properties:  internal\n"
        "Label:       tier=front\\n\n"
        "Containers:  1\n"
        "  CONTAINER   IPV4 ADDRESS   IPV6 ADDRESS   MAC ADDRESS\n"
        "  web         10.1.0.2/24                   02:42\n"
    )
