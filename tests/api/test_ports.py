"""Published ports: allocation, conflicts, and reachability."""

import os
import socket

import pytest

from tests.api.conftest import BOTH_FIREWALLS, OUTSIDE, UPLINK
from tests.lab import reach, unreachable

pytestmark = BOTH_FIREWALLS


def bindings(**ports):
    """``p80="8080"`` publishes 80/tcp there, ``u53=…`` 53/udp."""
    names = {"p": "tcp", "u": "udp"}
    found = {}
    for key, port in ports.items():
        address, _, number = port.rpartition(":")
        found[f"{key[1:]}/{names[key[0]]}"] = [{"HostIp": address, "HostPort": number}]
    return found


def publish(place, name, networks=None, **ports):
    return place.sandbox(name, networks, PortBindings=bindings(**ports))


def refused(place, name, **fields):
    return place.refusal(500, "POST", "/netd/v1/sandboxes", place.request(name, **fields))


def shown(box):
    return {key: [binding["HostPort"] for binding in value or ()] for key, value in box.settings["Ports"].items()}


def test_a_published_port_is_reached_from_everywhere(place):
    web = publish(place, "web", p80="8080", u53="5353")
    other = place.sandbox("other")
    place.lab.echo(web.node, 80)
    place.lab.echo(web.node, 53, "udp")
    assert reach(place.outside, UPLINK, 8080) == OUTSIDE
    assert reach(place.outside, UPLINK, 5353, "udp") == OUTSIDE
    assert reach(place.machine, "127.0.0.1", 8080) == "172.17.0.1"
    assert reach(place.machine, UPLINK, 8080)
    assert reach(other.node, UPLINK, 8080) and reach(other.node, "172.17.0.1", 8080)
    assert web.settings["Ports"]["80/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "8080"}]
    web.remove()
    assert unreachable(place.outside, UPLINK, 8080)


def test_an_address_of_the_host_limits_who_gets_there(place):
    web = publish(place, "web", p80="127.0.0.1:8080")
    place.lab.echo(web.node, 80)
    assert reach(place.machine, "127.0.0.1", 8080) and unreachable(place.outside, UPLINK, 8080)


def test_the_networks_own_address_is_taken_where_none_is_named(place):
    place.network("n", Options={"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"})
    web = publish(place, "web", "n", p80="8080")
    assert web.settings["Ports"]["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "8080"}]


def test_a_port_of_another_container_is_refused_with_its_name(place):
    publish(place, "first", p80="8080")
    words = refused(place, "second", PortBindings=bindings(p81="127.0.0.1:8080"))
    assert "Bind for 127.0.0.1:8080 failed: port is already allocated to container first" in words
    assert words.startswith("driver failed programming external connectivity on endpoint second (")
    publish(place, "third", u80="8080", p81="8081")


def test_a_port_of_a_program_of_the_host_is_refused(place):
    def listen(family, kind):
        found = socket.socket(family, kind)
        found.bind(("", 9099))
        return found

    for family, kind, key in (
        (socket.AF_INET, socket.SOCK_STREAM, "p80"),
        (socket.AF_INET6, socket.SOCK_STREAM, "p80"),
        (socket.AF_INET, socket.SOCK_DGRAM, "u80"),
    ):
        with place.machine.run(lambda f=family, k=kind: listen(f, k)) as program:
            if kind is socket.SOCK_STREAM:
                program.listen()
            protocol = "tcp" if kind is socket.SOCK_STREAM else "udp"
            for ports in ({key: "9099"}, {f"{key[0]}1000-1199": "9000-9199"}):
                words = refused(place, "web", PortBindings=bindings(**ports))
                assert f":9099/{protocol}: address already in use: held by " in words
                assert words.endswith(f"(pid {os.getpid()})")
    publish(place, "web", p80="9099").remove()


def test_an_invisible_owner_of_a_port_is_reported_as_unknown(place):
    """A socket in transit in an SCM_RIGHTS message is in no process's list of open files."""
    with place.machine.run(lambda: socket.create_server(("", 9098))) as program:
        here, there = socket.socketpair()
        socket.send_fds(here, [b"x"], [program.fileno()])
    with here, there:
        words = refused(place, "web", PortBindings=bindings(p80="9098"))
    assert "0.0.0.0:9098/tcp: address already in use: held by a program that cannot be seen from here" in words


def test_sctp_is_published_beside_tcp_whether_or_not_the_host_has_such_sockets(place):
    sctp = {"80/sctp": [{"HostIp": "", "HostPort": "8080"}], "81/sctp": [{"HostIp": "", "HostPort": ""}]}
    web = place.sandbox("web", PortBindings={**sctp, **bindings(p80="8080")})
    assert shown(web)["80/sctp"] == shown(web)["80/tcp"] == ["8080"] and len(shown(web)["81/sctp"]) == 1
    words = refused(place, "other", PortBindings={"9/sctp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]})
    assert "Bind for 127.0.0.1:8080 failed: port is already allocated to container web" in words


def test_who_may_come_is_recorded_shown_and_refused_when_unreadable(place):
    own = [{"HostIp": "", "HostPort": "8080", "Allow": ["192.0.2.0/24"]}]
    label = {"netd.allow.8081": "198.51.100.0/24,2001:db8::/32"}
    web = place.sandbox("web", PortBindings={"80/tcp": own, **bindings(p81="8081")}, Labels=label)
    ports = web.settings["Ports"]
    assert [binding["Allow"] for binding in ports["80/tcp"]] == [["192.0.2.0/24"]]
    assert [binding["Allow"] for binding in ports["81/tcp"]] == [["198.51.100.0/24", "2001:db8::/32"]]
    own[0]["Allow"] = ["everybody"]
    for fields in ({"PortBindings": {"80/tcp": own}}, {"Labels": {"netd.allow.1": "everybody"}}):
        words = place.refusal(400, "POST", "/netd/v1/sandboxes", place.request("other", **fields))
        assert 'invalid allow "everybody" of' in words


def test_an_internal_network_publishes_for_the_host_itself(place):
    place.network("deep", "10.9.0.0/24", Internal=True)
    web = publish(place, "web", "deep", p80="127.0.0.1:8080", p81="8081")
    assert web.settings["Ports"]["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "8080"}]
    assert web.settings["Ports"]["81/tcp"] is None
    route_localnet = f"net.ipv4.conf.nd-{place.get('/networks/deep')['Id'][:12]}.route_localnet"
    assert place.machine.command("sysctl", "-n", route_localnet).strip() == "1"


def test_a_published_port_is_kept_from_programs_of_the_host(place):
    web = publish(place, "web", p80="8080", u81="8081")
    for kind, port in ((socket.SOCK_STREAM, 8080), (socket.SOCK_DGRAM, 8081)):
        with place.machine.run(lambda k=kind: socket.socket(socket.AF_INET, k)) as program:
            program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="Address already in use"):
                program.bind(("0.0.0.0", port))
    web.remove()
    with place.machine.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as program:
        program.bind(("0.0.0.0", 8080))


def test_an_address_that_is_not_the_hosts_is_refused(place):
    assert "192.0.2.77" in refused(place, "web", PortBindings=bindings(p80="192.0.2.77:8080"))


def test_automatic_ports_go_round_the_ephemeral_range(place):
    place.machine.command("sh", "-c", "echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range")
    place.machine.command("sh", "-c", "echo 40001 > /proc/sys/net/ipv4/ip_local_reserved_ports")
    try:
        first, second = publish(place, "a", p80=""), publish(place, "b", p80="")
        first.remove()
        third, fourth = publish(place, "c", p80=""), publish(place, "d", p80="")
        found = [shown(box)["80/tcp"][0] for box in (second, third, fourth)]
        assert found == ["40002", "40003", "40000"]
        assert "all ports are allocated" in refused(place, "e", PortBindings=bindings(p80=""))
    finally:
        place.machine.command("sh", "-c", "echo 32768 60999 > /proc/sys/net/ipv4/ip_local_port_range")
        place.machine.command("sh", "-c", "echo > /proc/sys/net/ipv4/ip_local_reserved_ports")


def test_a_range_gives_one_free_port_of_it_and_then_none(place):
    def listen():
        found = socket.socket()
        found.bind(("0.0.0.0", 8000))
        return found

    with place.machine.run(listen) as program:
        program.listen()
        first, second = publish(place, "a", p80="8000-8002"), publish(place, "b", p80="8000-8002")
        assert {shown(box)["80/tcp"][0] for box in (first, second)} == {"8001", "8002"}
        refused(place, "c", PortBindings=bindings(p80="8000-8002"))


def test_all_exposed_ports_can_be_published(place):
    web = place.sandbox("web", ExposedPorts=["80/tcp", "53/udp"], PublishAllPorts=True)
    ports = shown(web)
    assert set(ports) == {"80/tcp", "53/udp"} and all(len(value) == 1 for value in ports.values())
    only = place.sandbox("only", ExposedPorts=["80/tcp"])
    assert only.settings["Ports"] == {"80/tcp": None}


def test_five_hundred_ports_in_a_row_lead_where_they_should(place):
    web = publish(place, "web", **{f"p{7000 + n}": str(20000 + n) for n in range(500)})
    for number in (7000, 7499):
        place.lab.echo(web.node, number)
        assert reach(place.outside, UPLINK, number + 13000) == OUTSIDE
    assert len(shown(web)) == 500
    assert "20250" in refused(place, "other", PortBindings=bindings(p80="20250"))


def test_a_port_that_is_chosen_is_the_same_at_each_address_of_a_binding_and_another_for_each_binding(place):
    anywhere = [{"HostIp": "", "HostPort": ""}]
    pinned = [{"HostIp": "127.0.0.1", "HostPort": ""}, {"HostIp": UPLINK, "HostPort": ""}]
    web = place.sandbox("web", PortBindings={"80/tcp": pinned, "81/tcp": anywhere, "82/tcp": anywhere})
    ports = shown(web)
    assert len(set(ports["80/tcp"])) == 1 and len(ports["80/tcp"]) == 2
    assert len({port for many in ports.values() for port in many}) == 3


def test_a_port_whose_last_connections_wait_out_their_time_can_be_published(place):
    with place.machine.run(lambda: socket.create_server(("0.0.0.0", 8080))) as server:
        client = place.outside.run(lambda: socket.create_connection((UPLINK, 8080), 5))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    assert "TIME-WAIT" in place.machine.command("ss", "-tan", "sport = :8080")
    publish(place, "web", p80="8080")


def test_a_failed_start_takes_no_port(place):
    publish(place, "first", p80="8081")
    refused(place, "second", PortBindings=bindings(p1="8080", p2="8081", p3="8082"))
    publish(place, "third", p1="8080", p3="8082")


def test_published_ports_follow_the_way_out(place):
    place.network("aa", "10.1.0.0/24")
    place.network("zz", "10.2.0.0/24")
    web = publish(place, "web", "zz", p80="8080", p81="")
    place.lab.echo(web.node, 80)
    before = shown(web)
    place.connect("aa", "web")
    assert web.gateway() == "10.1.0.1" and shown(web) == before
    assert reach(place.outside, UPLINK, 8080) == OUTSIDE
    place.disconnect("aa", "web")
    assert reach(place.outside, UPLINK, 8080) == OUTSIDE
    place.disconnect("zz", "web")
    assert unreachable(place.outside, UPLINK, 8080)
    other = publish(place, "other", p80="8080")
    words = place.refusal(500, "POST", "/networks/zz/connect", {"Container": "web"})
    assert "8080" in words and "other" in words and web.settings["Networks"] == {}
    other.remove()
    place.connect("zz", "web")
    assert reach(place.outside, UPLINK, 8080) == OUTSIDE
