"""Queries to 127.0.0.11:53 inside a sandbox reach the sockets that netd opened there."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dnslib import DNSRecord

from netd.common.errors import KernelRefused
from netd.facts import Namespace
from netd.host_protocol import Resolver
from tests.kernel.conftest import Site
from tests.lab import Node

pytestmark = pytest.mark.usefixtures("backend")
QUESTION = DNSRecord.question("web.front").pack()
ANSWER = DNSRecord.parse(QUESTION).reply().pack()
PLACE = ("127.0.0.11", 53)


@contextmanager
def opened(site: Site) -> Iterator[Resolver]:
    resolver = site.do(site.host.open_resolver("web"))
    yield resolver
    resolver.udp.close()
    resolver.tcp.close()
    os.close(resolver.netns)


@pytest.fixture
def resolver(site: Site) -> Iterator[Resolver]:
    site.want(Namespace(sandbox="web"))
    site.converge()
    with opened(site) as resolver:
        yield resolver


def client(node: Node, kind: socket.SocketKind) -> socket.socket:
    made = node.run(lambda: socket.socket(socket.AF_INET, kind))
    made.settimeout(2)
    return made


def asks_by_udp(node: Node, resolver: Resolver, source: tuple[str, int] = ("", 0)) -> None:
    """Query as libc does, with a connected socket, which accepts replies from the same port only."""
    with client(node, socket.SOCK_DGRAM) as asking:
        asking.bind(source)
        asking.connect(PLACE)
        asking.send(QUESTION)
        resolver.udp.settimeout(2)
        asked, whom = resolver.udp.recvfrom(512)
        assert asked == QUESTION
        resolver.udp.sendto(ANSWER, whom)
        assert asking.recv(512) == ANSWER


def asks_by_tcp(node: Node, resolver: Resolver, source: tuple[str, int] = ("", 0)) -> None:
    with client(node, socket.SOCK_STREAM) as asking:
        asking.bind(source)
        asking.connect(PLACE)
        resolver.tcp.settimeout(2)
        served, _ = resolver.tcp.accept()
        with served:
            asking.sendall(struct.pack("!H", len(QUESTION)) + QUESTION)
            assert served.recv(512)[2:] == QUESTION
            served.sendall(ANSWER)
            assert asking.recv(512) == ANSWER


def test_questions_come_by_udp_and_tcp_and_answers_from_port_53(site: Site, resolver: Resolver) -> None:
    asks_by_udp(site.inside("web"), resolver)
    asks_by_tcp(site.inside("web"), resolver)


def test_a_container_may_run_its_own_server_on_port_53(site: Site, resolver: Resolver) -> None:
    with client(site.inside("web"), socket.SOCK_DGRAM) as own, client(site.inside("web"), socket.SOCK_STREAM) as too:
        own.bind(("0.0.0.0", 53))
        too.bind(("0.0.0.0", 53))
        too.listen()
        asks_by_udp(site.inside("web"), resolver)
        asks_by_tcp(site.inside("web"), resolver)


def test_a_client_at_the_resolvers_own_address_and_port_is_answered(site: Site, resolver: Resolver) -> None:
    asks_by_udp(site.inside("web"), resolver, PLACE)
    asks_by_tcp(site.inside("web"), resolver, PLACE)


def tracked(node: Node) -> int:
    """Return how many connections the namespace tracks."""
    return int(node.sysctl("net/netfilter/nf_conntrack_count"))


def test_nftables_redirects_without_connection_tracking(backend: str, site: Site, resolver: Resolver) -> None:
    if backend == "iptables":
        pytest.skip("legacy tables redirect by NAT")
    inside = site.inside("web")
    asks_by_udp(inside, resolver)
    asks_by_tcp(inside, resolver)
    assert tracked(inside) == 0


TRACKING = """
table ip own {
  chain in { type filter hook input priority 0; policy drop
    ct state established accept
    ct state new accept
  }
  chain out { type filter hook output priority 0; policy accept
    ct state invalid drop
  }
  chain nat { type nat hook postrouting priority 100; policy accept
    oifname "eth0" masquerade
  }
}
"""


def test_a_container_that_tracks_its_connections_may_ask_too(site: Site, resolver: Resolver) -> None:
    inside = site.inside("web")
    inside.nft(TRACKING)
    for _ in range(2):
        asks_by_udp(inside, resolver)
        asks_by_tcp(inside, resolver)
    assert tracked(inside) > 0


def test_a_container_may_redirect_its_questions_itself(site: Site, resolver: Resolver) -> None:
    inside = site.inside("web")
    inside.nft(
        "table ip own {\nchain out { type nat hook output priority -150; policy accept\n"
        "udp dport 53 redirect to :5353\n}\n}"
    )
    with client(inside, socket.SOCK_DGRAM) as own, client(inside, socket.SOCK_DGRAM) as asking:
        own.bind(("127.0.0.1", 5353))
        asking.connect(PLACE)
        asking.send(QUESTION)
        asked, whom = own.recvfrom(512)
        assert asked == QUESTION
        own.sendto(ANSWER, whom)
        assert asking.recv(512) == ANSWER


def test_a_large_answer_comes_from_port_53(site: Site, resolver: Resolver) -> None:
    answer = bytes(range(256)) * 200
    with client(site.inside("web"), socket.SOCK_DGRAM) as asking:
        asking.connect(PLACE)
        asking.send(QUESTION)
        resolver.udp.settimeout(2)
        _, whom = resolver.udp.recvfrom(512)
        resolver.udp.sendto(answer, whom)
        assert asking.recv(1 << 16) == answer
    with client(site.inside("web"), socket.SOCK_STREAM) as asking:
        asking.connect(PLACE)
        resolver.tcp.settimeout(2)
        served, _ = resolver.tcp.accept()
        with served:
            served.sendall(answer)
            assert asking.recv(len(answer), socket.MSG_WAITALL) == answer


FORMER = """
add table ip netd
delete table ip netd
add table ip netd
add chain ip netd resolver {{ type nat hook output priority -100; policy accept; }}
add rule ip netd resolver ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:{udp}
add rule ip netd resolver ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:{tcp}
"""


def test_the_redirect_of_an_earlier_version_is_replaced_and_loses_no_question(
    backend: str, site: Site, resolver: Resolver
) -> None:
    if backend == "iptables":
        pytest.skip("legacy tables have had one redirect")
    inside = site.inside("web")
    inside.nft(FORMER.format(udp=resolver.udp.getsockname()[1], tcp=resolver.tcp.getsockname()[1]))
    with client(inside, socket.SOCK_DGRAM) as asking, client(inside, socket.SOCK_STREAM) as talking:
        asking.connect(PLACE)
        asking.send(QUESTION)
        resolver.udp.settimeout(2)
        _, whom = resolver.udp.recvfrom(512)
        talking.connect(PLACE)
        resolver.tcp.settimeout(2)
        served, _ = resolver.tcp.accept()
        assert site.do(site.host.foreign_redirects(["web"])) == []
        resolver.udp.sendto(ANSWER, whom)
        assert asking.recv(512) == ANSWER
        with served:
            talking.sendall(QUESTION)
            assert served.recv(512) == QUESTION
            served.sendall(ANSWER)
            assert talking.recv(512) == ANSWER
    assert "dnat" not in inside.command("nft", "list", "ruleset")
    asks_by_udp(inside, resolver)
    asks_by_tcp(inside, resolver)
    assert site.do(site.host.foreign_redirects(["web"])) == []


def test_opening_again_replaces_the_lead(site: Site, resolver: Resolver) -> None:
    with opened(site) as second:
        asks_by_udp(site.inside("web"), second)
        asks_by_tcp(site.inside("web"), second)


def test_the_descriptor_is_the_sandboxs_namespace(site: Site, resolver: Resolver) -> None:
    assert os.fstat(resolver.netns).st_ino == os.stat(site.host.namespace_path("web")).st_ino


def test_a_sandbox_that_is_not_there_is_named(site: Site) -> None:
    with pytest.raises(KernelRefused, match="sandbox nobody has no network namespace"):
        site.do(site.host.open_resolver("nobody"))
