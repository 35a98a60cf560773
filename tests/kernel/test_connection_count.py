"""Tracked connections are counted by source, in both families, and a long table by a sample."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from tests.kernel.conftest import Site
from tests.lab import Node

LARGE, SMALL = 6000, 2000


def send(node: Node, family: int, address: str, count: int) -> None:
    with node.run(lambda: socket.socket(family, socket.SOCK_DGRAM)) as sender:
        for port in range(1, count + 1):
            sender.sendto(b"x", (address, port))


def test_a_sample_is_uniform_and_bounded_and_a_count_is_exact(site: Site) -> None:
    front = site.network("front", "172.18.0.1/16", "fd00:18::1/64")
    site.container("large", front, 2)
    site.container("small", front, 3)
    site.converge()
    site.publish()
    send(site.inside("large"), socket.AF_INET, "198.51.100.2", LARGE)
    send(site.inside("small"), socket.AF_INET6, "2001:db8:51::2", SMALL)
    large, small = ip_address("172.18.0.2"), ip_address("fd00:18::3")

    assert LARGE + SMALL <= site.do(site.host.connection_table()).entries <= LARGE + SMALL + 10
    sample = site.do(site.host.sample_connections(2000)).by_source
    read = sum(sample.values())
    assert 2000 <= read < 2500
    assert abs(sample[large.packed] / read - LARGE / (LARGE + SMALL)) < 0.06, "six times the standard error"

    whole = site.do(site.host.sample_connections(100_000)).by_source
    assert (whole[large.packed], whole[small.packed]) == (LARGE, SMALL)
    for sources in ((large,), (small,), (large, small)):
        exact = site.do(site.host.count_connections(sources, 100_000)).by_source
        assert exact == {address.packed: whole[address.packed] for address in sources}
    assert sum(site.do(site.host.count_connections((large,), 1000)).by_source.values()) < 1500
