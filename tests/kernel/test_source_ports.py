"""Source NAT does not take ports that are published to other containers, with both backends and families."""

from __future__ import annotations

import socket

import pytest

from netd.portmap import nat_ports
from tests.kernel.conftest import OUTSIDE, OUTSIDE6, Site, port
from tests.lab import Node, family


def port_seen(node: Node, to: str, source: int, protocol: str = "udp") -> int:
    """Return the source port under which an echo server at *to* sees packets that *node* sends from *source*."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with node.run(lambda: socket.socket(family(to), kind)) as client:
        client.settimeout(2)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("::" if ":" in to else "0.0.0.0", source))
        client.connect((to, 7))
        client.send(b"?")
        return int(client.recv(64).split()[1])


@pytest.fixture
def published(backend: str, site: Site) -> Site:
    front = site.network("front", "172.18.0.1/16", "fd00:18::1/64")
    web, _ = site.container("web", front, 2), site.container("pal", front, 3)
    site.converge()
    for protocol in ("udp", "tcp"):
        site.lab.echo(site.outside, 7, protocol)
    site.lab.echo(site.outside, 7, "udp", address="::")
    site.publish(
        port(5000, web, 5000, protocol="udp"),
        port(5000, web, 5000, protocol="udp", address="::"),
        port(6000, web, 80),
        port(7000, web, 7000, protocol="udp", count=20),
        port(8000, web, 8000, protocol="udp", address="198.51.100.1"),
        port(9000, web, 9000, protocol="udp", address="127.0.0.1"),
    )
    return site


def is_moved(found: int) -> bool:
    first, last = nat_ports.BLOCKS[0]
    return first <= found <= last


def test_a_port_that_is_published_to_another_container_is_not_taken(published: Site) -> None:
    pal = published.inside("pal")
    for to, source, protocol in (
        (OUTSIDE, 5000, "udp"),
        (OUTSIDE6, 5000, "udp"),
        (OUTSIDE, 6000, "tcp"),
        (OUTSIDE, 7019, "udp"),
        (OUTSIDE, 8000, "udp"),
    ):
        assert is_moved(port_seen(pal, to, source, protocol)), (to, source)
    for source, protocol in ((5000, "tcp"), (6000, "udp"), (7020, "udp"), (9000, "udp"), (4999, "udp")):
        assert port_seen(pal, OUTSIDE, source, protocol) == source


def test_a_container_keeps_its_own_published_ports(published: Site) -> None:
    web = published.inside("web")
    for source in (5000, 7001):
        assert port_seen(web, OUTSIDE, source) == source
    assert is_moved(port_seen(web, OUTSIDE, 6000, "tcp"))  # Host port 6000 leads to its port 80.


def test_ports_follow_what_is_published(published: Site) -> None:
    pal = published.inside("pal")
    published.published = {rule for rule in published.published if rule.port not in (5000, 8000)}
    published.publish()
    for source in (5000, 8000):
        assert port_seen(pal, OUTSIDE, source) == source


def test_another_block_is_used_when_a_port_of_it_is_published(backend: str, site: Site) -> None:
    front = site.network("front", "172.18.0.1/16")
    web, _ = site.container("web", front, 2), site.container("pal", front, 3)
    site.converge()
    site.lab.echo(site.outside, 7, "udp")
    site.publish(port(5000, web, 5000, protocol="udp"))
    first, last = nat_ports.BLOCKS[0]
    site.publish(port(first, web, 80, count=last - first + 1))
    second = nat_ports.BLOCKS[1]
    assert second[0] <= port_seen(site.inside("pal"), OUTSIDE, 5000) <= second[1]
