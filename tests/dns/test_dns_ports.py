"""UDP ports of queries to upstream servers: random, closed soon, and deaf to all packets but the expected ones."""

from __future__ import annotations

import itertools
import os
import random
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TypeVar

import dns.message
import pytest
from dns_lab import DnsHost, inside

from netd.dns.event_loop import Loop
from netd.dns.forwarding import port_table, udp_ports, upstreams
from netd.dns.forwarding.delay_queue import DelayQueue
from netd.dns.forwarding.udp_ports import OWN_PORTS, PORT_QUERIES, SHARED_PORTS, UdpPorts
from netd.dns.forwarding.upstreams import HostFile
from netd.dns.records import Upstream, View
from netd.kernel.namespaces import netns

T = TypeVar("T")
QUESTION = dns.message.make_query("x.test", "A").to_wire()[2:]
SERVER = Upstream("127.0.0.1")


class Query:
    """Records what it receives."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.refusals = 0

    def received(self, packet: bytes) -> None:
        self.packets.append(packet)

    def refused(self) -> None:
        self.refusals += 1


@pytest.fixture
def lab(make_namespace):
    """Ports in a namespace, with a server's socket at 127.0.0.1:53 and the number of calls that opened sockets."""
    namespace, loop = make_namespace(), Loop()

    def opened(family: int, count: int) -> list[socket.socket]:
        lab.opened += 1
        return [netns.socket_in(namespace, family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(count)]

    def socket_at(address: str, port: int = 53) -> socket.socket:
        sock = netns.socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE
        sock.settimeout(5)
        sock.bind((address, port))
        return sock

    lab = SimpleNamespace(loop=loop, ports=UdpPorts(loop, opened, keep=1), socket_at=socket_at, opened=0)
    lab.server = socket_at("127.0.0.1")
    yield lab
    lab.ports.close()
    lab.server.close()


def turn(loop: Loop) -> None:
    """Let the loop handle what has arrived."""
    loop.call_later(0.02, loop.stop)
    loop.run()


def draw_ids(monkeypatch: pytest.MonkeyPatch, ids: Iterator[bytes]) -> None:
    take = SimpleNamespace(take=lambda count: next(ids) if count == 2 else bytes(count))
    monkeypatch.setattr(udp_ports, "RANDOM", take)


def test_a_question_has_a_random_port_and_id_of_its_own(lab, monkeypatch):
    monkeypatch.setattr(udp_ports, "OWN_PORTS", 1000)
    seen = []
    for _ in range(300):
        query = Query()
        port, packet = lab.ports.send(SERVER, QUESTION, query)
        seen.append((lab.server.recvfrom(512)[1][1], int.from_bytes(packet[:2])))
        lab.ports.end(port, packet[:2], query)
    ports, ids = ([entry[at] for entry in seen] for at in (0, 1))
    for numbers, width in ((ports, 28_000), (ids, 65_536)):
        assert len(set(numbers)) > 285
        assert max(numbers) - min(numbers) > 0.9 * width
        steps = [abs(after - before) for before, after in itertools.pairwise(numbers)]
        assert 0.2 * width < sum(steps) / len(steps) < 0.47 * width, "the mean distance of random numbers is a third"
    assert lab.opened == 1, "the sockets are used again"


def test_ports_of_a_flood_of_questions_are_many_and_carry_few_questions_each(lab, monkeypatch):
    monkeypatch.setattr(udp_ports, "WINDOW", 10.0)
    carried, order = defaultdict(list), []
    for _ in range(3000):
        query = Query()
        port, packet = lab.ports.send(SERVER, QUESTION, query)
        source = lab.server.recvfrom(512)[1][1]
        carried[port, source].append(packet[:2])
        order.append(source)
        lab.ports.end(port, packet[:2], query)
    assert len(set(order)) > 3000 / PORT_QUERIES
    assert all(len(ids) == len(set(ids)) <= PORT_QUERIES for ids in carried.values())
    repeated = sum(before == after for before, after in itertools.pairwise(order))
    assert repeated < 3000 / SHARED_PORTS * 2, "the next port is not predictable"


def test_a_client_that_asks_one_name_after_the_other_seldom_waits_for_new_sockets(lab, monkeypatch):
    """Each call that opens sockets in the namespace of a container takes a thread, longer than most queries."""
    monkeypatch.setattr(udp_ports, "WINDOW", 10.0)
    for _ in range(600):
        query = Query()
        port, packet = lab.ports.send(SERVER, QUESTION, query)
        lab.ports.end(port, packet[:2], query)
    assert lab.opened <= 3


def test_ports_are_shared_in_the_window_after_a_flood_and_not_later(lab, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(udp_ports, "time", SimpleNamespace(monotonic=lambda: now))

    def shared(count: int) -> int:
        sent = [(*lab.ports.send(SERVER, QUESTION, query), query) for query in [Query() for _ in range(count)]]
        for port, packet, query in sent:
            lab.ports.end(port, packet[:2], query)
        return len([port for port, _, _ in sent if port.is_shared])

    assert shared(OWN_PORTS + 10) == 10
    now += udp_ports.WINDOW
    assert shared(1) == 1
    now += udp_ports.WINDOW
    assert shared(OWN_PORTS) == 0


def test_silence_takes_few_descriptors_which_are_closed_afterwards(lab):
    sent = []
    for _ in range(2000):
        query = Query()
        sent.append((*lab.ports.send(SERVER, QUESTION, query), query))
    # Windows in which a question has its own port may have passed meanwhile.
    assert len(lab.ports) < 2000 / PORT_QUERIES + SHARED_PORTS + 8 * OWN_PORTS
    for port, packet, query in sent:
        lab.ports.end(port, packet[:2], query)
    end = time.monotonic() + 20
    while lab.ports.sweep():
        assert time.monotonic() < end
        time.sleep(0.05)  # Shared ports expire after a second.
    assert len(lab.ports) == 1


def test_only_the_server_with_the_id_of_a_pending_question_is_heard(lab):
    query = Query()
    port, packet = lab.ports.send(SERVER, QUESTION, query)
    _, source = lab.server.recvfrom(512)
    with lab.socket_at("127.0.0.2") as other_address, lab.socket_at("127.0.0.1", 5353) as other_port:
        other_address.sendto(packet, source)
        other_port.sendto(packet, source)
    lab.server.sendto(bytes([packet[0] ^ 1]) + packet[1:], source)
    lab.server.sendto(b"", source)
    turn(lab.loop)
    assert not query.packets
    lab.server.sendto(packet, source)
    turn(lab.loop)
    assert query.packets == [packet]
    lab.ports.end(port, packet[:2], query)
    lab.server.sendto(packet, source)
    turn(lab.loop)
    assert query.packets == [packet]


@pytest.mark.parametrize("shared", [False, True])
def test_what_came_for_an_earlier_question_never_answers_a_later_one(lab, monkeypatch, shared):
    """All ids are sent to the port of the first question, before and after its end."""
    monkeypatch.setattr(udp_ports, "SHARED_PORTS", 1)
    monkeypatch.setattr(udp_ports, "OWN_PORTS", 0 if shared else 1000)
    first, later = Query(), Query()
    old_port, packet = lab.ports.send(SERVER, QUESTION, first)
    _, source = lab.server.recvfrom(512)
    for number in random.sample(range(65536), 100):
        lab.server.sendto(number.to_bytes(2) + packet[2:], source)
    lab.ports.end(old_port, packet[:2], first)
    if shared:
        monkeypatch.setattr(udp_ports, "PORT_QUERIES", 1)
    monkeypatch.setattr(
        udp_ports, "RANDOM", SimpleNamespace(take=lambda count: packet[:2] if count == 2 else bytes(count))
    )
    new_port, again = lab.ports.send(SERVER, QUESTION, later)
    assert new_port is old_port and again[:2] == packet[:2], "the socket is used again, with the same id"
    assert lab.server.recvfrom(512)[1] != source
    lab.server.sendto(packet, source)
    turn(lab.loop)
    assert not first.packets and not later.packets


def test_an_id_is_used_once_on_a_port(lab, monkeypatch):
    monkeypatch.setattr(udp_ports, "SHARED_PORTS", 1)
    monkeypatch.setattr(udp_ports, "OWN_PORTS", 0)
    first, later = Query(), Query()
    port, packet = lab.ports.send(SERVER, QUESTION, first)
    lab.ports.end(port, packet[:2], first)
    drawn = iter([packet[:2], packet[:2], b"zz"])
    monkeypatch.setattr(
        udp_ports, "RANDOM", SimpleNamespace(take=lambda count: next(drawn) if count == 2 else bytes(count))
    )
    same_port, again = lab.ports.send(SERVER, QUESTION, later)
    assert same_port is port and again[:2] == b"zz"
    lab.server.sendto(packet, lab.server.recvfrom(512)[1])
    turn(lab.loop)
    assert not first.packets and not later.packets, "a late reply to the first"


def test_an_icmp_error_ends_the_questions_of_its_port_and_no_later_one(lab, monkeypatch):
    monkeypatch.setattr(udp_ports, "SHARED_PORTS", 1)
    monkeypatch.setattr(udp_ports, "OWN_PORTS", 0)
    pending = [Query() for _ in range(4)]
    for query in pending:
        lab.ports.send(SERVER, QUESTION, query)
    lab.server.close()
    last = Query()
    lab.ports.send(SERVER, QUESTION, last)
    lab.server = lab.socket_at("127.0.0.1")
    later = Query()
    _, packet = lab.ports.send(SERVER, QUESTION, later)
    lab.server.sendto(packet, lab.server.recvfrom(512)[1])
    turn(lab.loop)
    assert [query.refusals for query in (*pending, last)] == [1] * 5
    assert (later.refusals, later.packets) == (0, [packet])


def test_a_server_of_the_container_is_queried_without_a_thread_per_question(make_namespace, monkeypatch):
    namespace, threads = make_namespace(), []

    def run_in_fd(netns_fd: int, body: Callable[[], T]) -> T:
        threads.append(netns_fd)
        return netns.run_in_fd(netns_fd, body)

    monkeypatch.setattr(port_table, "run_in_fd", run_in_fd)
    table = port_table.PortTable(Loop())
    sandbox = SimpleNamespace(id="a", netns=namespace)
    with netns.socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(5)
        server.bind(("127.0.0.1", 53))
        own = Upstream("127.0.0.1", inside=True)
        for _ in range(40):
            ports, query = table.of(sandbox, own), Query()
            port, packet = ports.send(own, QUESTION, query)
            assert server.recv(512) == packet, "the query is sent in the namespace"
            ports.end(port, packet[:2], query)
        for _ in range(3):
            ports.sweep()
        assert len(ports) == 1, "a socket is kept for later queries"
    table.forget("a")
    assert threads == [namespace] and not len(ports)


def test_a_tcp_server_that_does_not_accept_delays_no_answer(on_host):
    """The kernel drops SYNs when the backlog is full, so connect(2) has no result for a long time."""

    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.9")))
        with netns.socket_in(asker.ns, socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.9", 53))
            listener.listen(0)
            queued = []
            for _ in range(3):
                sock = netns.socket_in(asker.ns, socket.AF_INET, socket.SOCK_STREAM)
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.9", 53))
                queued.append(sock)
            with asker.tcp() as waiting:
                wire = dns.message.make_query("x.test", "A").to_wire()
                waiting.sendall(len(wire).to_bytes(2) + wire)
                begin = time.monotonic()
                assert asker.addresses("web", tcp=True) == ["10.1.0.2"]
                assert time.monotonic() - begin < 4, "the query that waits for the server ends after 4.5 seconds"
            for sock in queued:
                sock.close()

    on_host(scenario)


def test_the_hosts_file_is_followed_without_a_system_call_per_question(tmp_path, monkeypatch):
    real, folder, loop = tmp_path / "run", tmp_path / "etc", Loop()
    real.mkdir()
    folder.mkdir()
    path = folder / "resolv.conf"
    path.symlink_to("../run/stub.conf")
    monkeypatch.setattr(upstreams, "CHECK", 1000.0)
    host = HostFile(path, loop)
    assert host.upstreams() == ()

    def has(server: str) -> None:
        turn(loop)
        assert host.upstreams() == (Upstream(server),)

    (real / "stub.conf").write_text("nameserver 192.0.2.1\n")
    has("192.0.2.1")
    (real / "new").write_text("nameserver 192.0.2.2\n")
    (real / "new").rename(real / "stub.conf")
    has("192.0.2.2")
    with open(real / "stub.conf", "r+") as file:
        file.write("nameserver 192.0.2.3\n")
    has("192.0.2.3")
    path.unlink()
    path.write_text("nameserver 192.0.2.4\n")
    has("192.0.2.4")
    turn(loop)
    host.upstreams()
    monkeypatch.setattr(os, "stat", lambda *words: pytest.fail("a system call"))
    has("192.0.2.4")


def test_a_delay_counts_from_the_last_start_and_ends_with_a_removal():
    loop, called = Loop(), []
    queue = DelayQueue(loop, 0.05, called.append)
    for item in "abc":
        queue.add(item)
    queue.remove("b")
    queue.add("a")
    loop.call_later(0.2, loop.stop)
    loop.run()
    assert called == ["c", "a"]
