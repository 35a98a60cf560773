"""Deletion of tracked connections when ports are published and unpublished; other connections are kept."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from netd.host_protocol import Flows
from netd.portmap.rules import Published
from tests.kernel.conftest import UPLINK, UPLINK6, Site, port

HERE, THERE = "fd00:51::1", "fd00:51::2"
BEYOND = "203.0.113.2"


class FlowHost:
    """A host with a container *web* that publishes 8080/udp and 8081/udp, and a routed host ``beyond``."""

    def __init__(self, site: Site, others: int) -> None:
        self.site = site
        self.stack = ExitStack()
        self.web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
        site.converge()
        self.ports = [port(number, self.web, number, protocol="udp") for number in (8080, 8081)]
        site.publish(*self.ports)
        beyond = site.lab.make_host("beyond")
        site.lab.wire(site.machine, beyond, "203.0.113.0/24")
        beyond.ip("route add default via 203.0.113.1")
        site.outside.ip(f"route add {BEYOND} via {UPLINK}")
        for node, address in ((site.machine, HERE), (site.outside, THERE)):
            node.ip(f"addr add {address}/64 dev eth0 nodad")
        with site.outside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as many:
            for number in range(others):
                many.sendto(b"x", (UPLINK, 20000 + number))

    def client(self, address: str, number: int) -> socket.socket:
        """Return a socket of the neighbour that has sent a datagram."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        found = self.stack.enter_context(self.site.outside.run(lambda: socket.socket(family, socket.SOCK_DGRAM)))
        found.connect((address, number))
        found.send(b"x")
        return found

    def forget(self, **flows: object) -> None:
        self.site.do(self.site.host.delete_flows(Flows(**flows)))

    def tracked(self, address: str, number: int) -> bool:
        """Return whether the neighbour's flow to *address* and *number* is tracked."""
        family = "ipv6" if ":" in address else "ipv4"
        words = ("conntrack", "-L", "-f", family, "-p", "udp", "-d", address, "--dport", str(number))
        return f"dport={number}" in self.site.machine.command(*words)


@pytest.fixture
def flow_host(site: Site, request: pytest.FixtureRequest) -> Iterator[FlowHost]:
    """Short tables are dumped completely, long ones filtered by the kernel; both must find the same entries."""
    made = FlowHost(site, getattr(request, "param", 0))
    yield made
    made.stack.close()


FEW_AND_MANY = pytest.mark.parametrize("flow_host", [0, 3000], ids=["few", "many"], indirect=True)


@FEW_AND_MANY
def test_a_port_that_is_published_no_more_loses_its_flows_and_no_other_port_does(flow_host: FlowHost) -> None:
    for number in (8080, 8081):
        flow_host.client(UPLINK, number)
        assert flow_host.tracked(UPLINK, number)
    flow_host.forget(closed=(flow_host.ports[0],))
    assert not flow_host.tracked(UPLINK, 8080) and flow_host.tracked(UPLINK, 8081)
    whole = port(8080, flow_host.web, 8080, protocol="udp", count=2)
    flow_host.client(UPLINK, 8080)
    flow_host.forget(closed=(whole,))
    assert not flow_host.tracked(UPLINK, 8080) and not flow_host.tracked(UPLINK, 8081)


@FEW_AND_MANY
def test_the_same_with_ipv6(flow_host: FlowHost) -> None:
    site = flow_host.site
    pal = site.container("pal", site.network("pals", "172.19.0.1/16", "fd00:19::1/64"), 2)
    site.converge()
    ports = [port(number, pal, number, protocol="udp", address="::") for number in (8090, 8091)]
    site.publish(*ports)
    for number in (8090, 8091):
        flow_host.client(UPLINK6, number)
        assert flow_host.tracked(UPLINK6, number)
    flow_host.forget(closed=(ports[0],))
    assert not flow_host.tracked(UPLINK6, 8090) and flow_host.tracked(UPLINK6, 8091)


@FEW_AND_MANY
def test_flows_that_went_to_the_host_before_are_forgotten(flow_host: FlowHost) -> None:
    for address, every, target in ((UPLINK, "0.0.0.0", "172.18.0.2"), (HERE, "::", "fd00:99::2")):
        for count in (1, 200):
            flow_host.client(address, 9000)
            flow_host.client(address, 9999)
            assert flow_host.tracked(address, 9000)
            flow_host.forget(opened=(Published("udp", ip_address(every), 9000, ip_address(target), 80, count),))
            assert not flow_host.tracked(address, 9000) and flow_host.tracked(address, 9999)


def test_flows_of_others_to_the_same_port_are_left_alone(flow_host: FlowHost) -> None:
    """Flows forwarded by this host, to a container with the port published, and to another host address."""
    flow_host.site.machine.ip("addr add 198.51.100.9/24 dev eth0")
    flow_host.client(BEYOND, 8080)
    flow_host.client(UPLINK, 8080)
    flow_host.client("198.51.100.9", 9000)
    flow_host.client(UPLINK, 9000)
    web = flow_host.web.addresses[0].ip
    opened = (
        Published("udp", ip_address("0.0.0.0"), 8080, web, 80),
        Published("udp", ip_address(UPLINK), 9000, web, 80),
    )
    flow_host.forget(opened=opened)
    assert flow_host.tracked(BEYOND, 8080), "a forwarded flow"
    assert flow_host.tracked(UPLINK, 8080), "a flow that is already translated"
    assert flow_host.tracked("198.51.100.9", 9000), "a flow to another address of the host"
    assert not flow_host.tracked(UPLINK, 9000)


def test_flows_of_an_address_that_is_given_up_are_forgotten_in_both_families(flow_host: FlowHost) -> None:
    flow_host.client(UPLINK, 8080)
    flow_host.client(HERE, 9000)
    flow_host.forget(addresses=frozenset({flow_host.web.addresses[0].ip, ip_address(HERE)}))
    assert not flow_host.tracked(UPLINK, 8080) and not flow_host.tracked(HERE, 9000)
