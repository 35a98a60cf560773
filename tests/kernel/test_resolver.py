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


def asks_by_udp(node: Node, resolver: Resolver) -> None:
    """Query as libc does, with a connected socket, which accepts replies from the same port only."""
    with client(node, socket.SOCK_DGRAM) as asking:
        asking.connect(PLACE)
        asking.send(QUESTION)
        resolver.udp.settimeout(2)
        asked, whom = resolver.udp.recvfrom(512)
        assert asked == QUESTION
        resolver.udp.sendto(ANSWER, whom)
        assert asking.recv(512) == ANSWER


def asks_by_tcp(node: Node, resolver: Resolver) -> None:
    with client(node, socket.SOCK_STREAM) as asking:
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


def test_opening_again_replaces_the_lead(site: Site, resolver: Resolver) -> None:
    with opened(site) as second:
        asks_by_udp(site.inside("web"), second)
        asks_by_tcp(site.inside("web"), second)


def test_the_descriptor_is_the_sandboxs_namespace(site: Site, resolver: Resolver) -> None:
    assert os.fstat(resolver.netns).st_ino == os.stat(site.host.namespace_path("web")).st_ino


def test_a_sandbox_that_is_not_there_is_named(site: Site) -> None:
    with pytest.raises(KernelRefused, match="sandbox nobody has no network namespace"):
        site.do(site.host.open_resolver("nobody"))
