"""Detection of host routes that overlap one of our networks."""

from ipaddress import ip_network

import pytest

from netd.engine.networks.route_conflicts import find
from netd.host_protocol import RouteEntry
from tests.unit.builders import network


@pytest.mark.parametrize(
    ("destination", "interface", "collides"),
    [
        ("10.1.0.0/16", "eth0", True),
        ("10.1.2.0/24", "tun0", True),
        ("10.0.0.0/8", "tun0", True),
        ("0.0.0.0/1", "tun0", False),
        ("10.2.0.0/16", "eth0", False),
        ("fd00::/64", "eth0", False),
        ("10.1.0.0/16", "br0", False),
    ],
)
def test_a_route_collides_when_it_overlaps_and_leaves_by_another_link(destination, interface, collides):
    on = network("n", "10.1.0.0/16")
    found = find([(on, "br0")], [RouteEntry(ip_network(destination), interface)])
    assert [(conflict.network, str(conflict.route), conflict.interface) for conflict in found] == (
        [(on.id, destination, interface)] if collides else []
    )
