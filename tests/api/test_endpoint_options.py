"""Names, sysctls and IPv6 of container interfaces."""

from __future__ import annotations

from tests.lab import reach

IFNAME = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"
DUAL = {"EnableIPv6": True, "IPAM": {"Config": [{"Subnet": "10.91.0.0/24"}, {"Subnet": "fd00:91::/64"}]}}


def test_an_interface_has_the_name_that_was_asked_for(place):
    place.network("n", "10.91.0.0/24")
    box = place.sandbox("web", {"n": {"DriverOpts": {IFNAME: "eth5"}}, "bridge": {}})
    assert {"eth5", "eth0"} <= box.node.links()


def test_a_name_that_is_taken_inside_fails_the_connect_and_leaves_nothing(place):
    """By another endpoint, and by a foreign interface in the container."""
    place.network("n", "10.91.0.0/24")
    box = place.sandbox("web", "bridge")
    box.node.ip("link add mine type bridge")
    before, links = place.get(f"/netd/v1/sandboxes/{box.id}"), place.links()
    for name in ("eth0", "mine"):
        body = {"Container": box.id, "EndpointConfig": {"DriverOpts": {IFNAME: name}}}
        status, _ = place.call("POST", "/networks/n/connect", body)
        assert status >= 400
        assert place.get(f"/netd/v1/sandboxes/{box.id}") == before and place.links() == links
    place.connect("n", box.id)
    assert box.address("n") == "10.91.0.2"


def test_parameters_of_an_interface_are_set_inside_and_stay_the_only_ones(place):
    asked = {"DriverOpts": {SYSCTLS: "net.ipv4.conf.IFNAME.forwarding=1,net.ipv4.conf.ifname.log_martians=1"}}
    box = place.sandbox("web", {"bridge": asked})
    for name, value in (("forwarding", "1"), ("log_martians", "1"), ("proxy_arp", "0")):
        assert box.node.sysctl(f"net/ipv4/conf/eth0/{name}") == value
    assert place.view(box.id)["NetworkSettings"]["Networks"]["bridge"]["DriverOpts"] == asked["DriverOpts"]


def test_parameters_that_cannot_be_are_refused_by_name_and_leave_nothing(place):
    links = place.links()
    for text, status, words in (
        ("net.ipv4.conf.eth0.forwarding=1", 400, "as 'net.X.Y.IFNAME.Z=V'"),
        ("net.ipv4.conf.IFNAME.zork=1", 500, "net.ipv4.conf.IFNAME.zork"),
        ("net.ipv4.conf.IFNAME.forwarding=zork", 500, "'zork'"),
    ):
        body = place.request("web", {"bridge": {"DriverOpts": {SYSCTLS: text}}})
        assert words in place.refusal(status, "POST", "/netd/v1/sandboxes", body)
    assert place.links() == links and place.get("/netd/v1/sandboxes") == []


def test_a_container_without_ipv6_has_none_of_it_anywhere_and_everything_else_works(place):
    place.network("dual", **DUAL)
    other = place.sandbox("other", "dual")
    box = place.sandbox("web", "dual", Sysctls={"net.ipv6.conf.all.disable_ipv6": "1"})
    shown = box.settings["Networks"]["dual"]
    assert (shown["IPAddress"], shown["GlobalIPv6Address"], shown["IPv6Gateway"]) == ("10.91.0.3", "", "")
    assert box.node.json("-6 addr") == []
    assert "fd00" not in box.view["Hosts"]
    assert other.resolve("web", "AAAA") == [] and other.resolve("web") == ["10.91.0.3"]
    place.lab.echo(box.node, 80)
    assert reach(other.node, "10.91.0.3", 80) == "10.91.0.2"
    assert other.settings["Networks"]["dual"]["GlobalIPv6Address"] == "fd00:91::2"
