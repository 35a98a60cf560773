"""Published ports of both families, of routed and internal networks, and in large numbers."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.api.conftest import OUTSIDE, UPLINK
from tests.lab import Node, reach

UPLINK6, OUTSIDE6 = "2001:db8:51::1", "2001:db8:51::2"
MODE = "com.docker.network.bridge.gateway_mode_"


def bound(port="", address=""):
    return {"HostIp": address, "HostPort": port}


def pairs(box, key="80/tcp"):
    return [(binding["HostIp"], binding["HostPort"]) for binding in box.settings["Ports"][key] or ()]


def serve6(place, node: Node, port: int) -> None:
    """An echo server for IPv6 only, at the same port as one for IPv4."""
    place.lab.echo(node, port, address="::")


def uplink6(place) -> None:
    for node, address in ((place.machine, UPLINK6), (place.outside, OUTSIDE6)):
        node.ip(f"addr replace {address}/64 dev eth0 nodad")


def test_a_port_is_published_in_both_families_under_one_number(place):
    uplink6(place)
    place.network("dual", EnableIPv6=True)
    web = place.sandbox("web", "dual", PortBindings={"80/tcp": [bound("8080")], "81/tcp": [bound()]})
    assert pairs(web) == [("0.0.0.0", "8080"), ("::", "8080")]
    (_, four), (_, six) = pairs(web, "81/tcp")
    assert four == six
    serve6(place, web.node, 80)
    assert reach(place.outside, UPLINK6, 8080) == OUTSIDE6
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with place.machine.run(lambda f=family: socket.socket(f)) as program:
            if family == socket.AF_INET6:
                program.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                program.bind((address, 8080))
                raise AssertionError(f"{address}:8080 is not held")
            except OSError as problem:
                assert "in use" in str(problem)


def test_tables_of_the_families_are_apart_and_every_address_is_in_the_way_of_one(place):
    place.network("dual", EnableIPv6=True)
    place.sandbox("four", "dual", PortBindings={"80/tcp": [bound("8080", "0.0.0.0")]})
    place.sandbox("six", "dual", PortBindings={"80/tcp": [bound("8080", "::")]})
    request = place.request("other", "dual", PortBindings={"80/tcp": [bound("8080", "::1")]})
    words = place.refusal(500, "POST", "/netd/v1/sandboxes", request)
    assert "Bind for ::1:8080 failed: port is already allocated to container six" in words


def test_the_ipv6_port_moves_to_the_network_that_has_ipv6_and_back(place):
    place.network("four")
    place.network("six", EnableIPv4=False, EnableIPv6=True)
    web = place.sandbox("web", "four", PortBindings={"80/tcp": [bound("8080")], "81/tcp": [bound()]})
    before = web.settings["Ports"]
    assert pairs(web) == [("0.0.0.0", "8080")]
    place.connect("six", "web")
    assert pairs(web) == [("0.0.0.0", "8080"), ("::", "8080")]
    assert pairs(web, "81/tcp") == [("0.0.0.0", before["81/tcp"][0]["HostPort"]), ("::", pairs(web, "81/tcp")[0][1])]
    place.disconnect("six", "web")
    assert web.settings["Ports"] == before


def test_an_ipv6_only_container_has_no_ipv4_port(place):
    place.network("six", EnableIPv4=False, EnableIPv6=True)
    web = place.sandbox("web", "six", PortBindings={"80/tcp": [bound("8080")], "81/tcp": [bound("81", "127.0.0.1")]})
    assert pairs(web) == [("::", "8080")] and pairs(web, "81/tcp") == []
    assert "port not published: sandbox=" in place.log() and "none of its networks publishes IPv4 ports" in place.log()


def test_a_routed_family_shows_no_port_and_takes_none(place):
    place.network("mixed", EnableIPv6=True, Options={MODE + "ipv6": "routed"})
    web = place.sandbox("web", "mixed", PortBindings={"80/tcp": [bound("8080")]})
    assert pairs(web) == [("0.0.0.0", "8080"), ("::", "")]
    with place.machine.run(lambda: socket.socket(socket.AF_INET6)) as program:
        program.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        program.bind(("::", 8080))


def test_sixteen_thousand_ports_are_one_element_no_process_and_no_memory(place):
    def files_and_memory():
        rollup = Path(f"/proc/{place.process.pid}/smaps_rollup").read_text().splitlines()
        pss = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        return len(list(Path(f"/proc/{place.process.pid}/fd").iterdir())), pss

    # Memory used for encoding the response is reused.
    place.sandbox("warm", PortBindings={"1000-17383/udp": [bound("1000-17383")]}).remove()
    processes, (files, memory) = place.machine.processes(), files_and_memory()
    web = place.sandbox("web", PortBindings={"20000-36383/udp": [bound("20000-36383")]})
    assert place.machine.processes() == processes
    after_files, after_memory = files_and_memory()
    assert after_files - files < 10 and after_memory - memory < 2048, "KiB"
    assert len(web.settings["Ports"]) == 16384 and "20000-36383" in place.ruleset()
    for port in (20000, 30000, 36383):
        place.lab.echo(web.node, port, "udp")
        assert reach(place.outside, UPLINK, port, "udp") == OUTSIDE
    web.remove()
    assert "20000-36383" not in place.ruleset()
