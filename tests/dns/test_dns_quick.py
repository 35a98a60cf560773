"""Queries that are forwarded in batches, without objects of their own, and what happens when no plain answer comes.

Each test makes the upstream server known first, by a query for which the server's behaviour is found out.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace

import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns_lab import fails, found, inside, says, serving, upstream
from dnslib import QTYPE, RR, A, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from netd.dns import datagrams
from netd.dns.event_loop import Loop
from netd.dns.forwarding import forward, port_table, udp_ports
from netd.dns.forwarding.cache import lifetime
from netd.dns.forwarding.quick_query import QuickQuery
from netd.dns.messages.message import question_end
from netd.dns.messages.rr_scan import plain_answer
from netd.dns.records import Patch, View
from netd.kernel.namespaces import netns


@pytest.fixture
def lab(service):
    """A server in this process whose container has *servers*; ``pending`` are its queries without a response."""
    server, loop, container = service

    def known(*servers: str) -> None:
        server.set_view("a", View(("n1",), upstreams=inside(*servers)))
        assert container.addresses("known.zone.test") == ["198.51.100.1"]

    def pending() -> list[object]:
        return list(server._forwarder._routes.races["a"].values())

    return SimpleNamespace(server=server, loop=loop, asker=container, known=known, pending=pending, seen=[])


def quick_only(lab, answer):
    """Answer with *answer*, and check that the query is a quick one."""

    def checked(packet: bytes) -> bytes | None:
        lab.seen += map(type, lab.pending())
        return answer(packet)

    return checked


def test_plain_answers_take_the_quick_way_and_are_cached(lab):
    with serving(lab.loop), upstream(lab.asker.ns, "127.0.0.1", says("198.51.100.1")) as server:
        lab.known("127.0.0.1")
        server.answer = quick_only(lab, says("198.51.100.2"))
        for name in ("a.zone.test", "B.zone.test", "b.zone.test"):
            assert lab.asker.addresses(name) == ["198.51.100.2"]
        asked = len(server.asked)
        assert lab.asker.addresses("a.zone.test") == ["198.51.100.2"]
        assert len(server.asked) == asked == 4
        lab.server.views.patch_network("n1", Patch({"new": ("10.1.0.9",)}))
        assert lab.asker.addresses("d.zone.test") == ["198.51.100.2"], "the first query after a change"
        assert lab.seen == [QuickQuery] * 4
    assert not lab.pending() and lab.server._forwarder._shares["a"] == 0


def forged_then_true(lab, server):
    def answer(packet: bytes) -> bytes | None:
        server.say(
            packet[:2] + b"\x81\x80\0\1\0\1\0\0\0\0\4evil" + packet[17:] + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4"
        )
        return says("198.51.100.2")(packet)

    return answer


def lowered(packet: bytes) -> bytes:
    return says("198.51.100.2")(packet[:12] + packet[12:-4].lower() + packet[-4:])


def large(packet: bytes) -> bytes:
    """Reply with more bytes than a slot for responses to clients has."""
    reply = DNSRecord.parse(packet).reply(aa=0)
    for _ in range(200):
        reply.add_answer(RR(reply.q.qname, QTYPE.A, rdata=A("198.51.100.2")))
    return bytes(reply.pack())


@pytest.mark.parametrize("kind", ["forged", "lowered", "silent", "servfail", "cut", "large"])
def test_other_responses_continue_as_an_ordinary_query(lab, kind):
    with (
        serving(lab.loop),
        upstream(lab.asker.ns, "127.0.0.1", says("198.51.100.1")) as first,
        upstream(lab.asker.ns, "127.0.0.2", says("198.51.100.2")) as second,
    ):
        lab.known("127.0.0.1", "127.0.0.2")
        first.answer = quick_only(
            lab,
            {
                "forged": forged_then_true(lab, first),
                "lowered": lowered,
                "silent": lambda packet: None,
                "servfail": fails(dns.rcode.SERVFAIL),
                "cut": lambda packet: says("203.0.113.1")(packet)[:-2],
                "large": large,
            }[kind],
        )
        assert set(lab.asker.addresses("other.zone.test")) == {"198.51.100.2"}
        assert bool(second.asked) == (kind in ("silent", "servfail", "cut"))
        assert lab.seen[0] is QuickQuery
    assert not lab.pending() and lab.server._forwarder._shares["a"] == 0


def test_a_refused_quick_query_is_answered_by_the_next_server(lab):
    with serving(lab.loop), upstream(lab.asker.ns, "127.0.0.2", says("198.51.100.2")):
        with upstream(lab.asker.ns, "127.0.0.1", says("198.51.100.1")):
            lab.known("127.0.0.1", "127.0.0.2")
        assert lab.asker.addresses("refused.zone.test") == ["198.51.100.2"]


def test_clients_with_the_same_question_share_a_quick_query(lab):
    with (
        serving(lab.loop),
        upstream(lab.asker.ns, "127.0.0.1", says("198.51.100.1")) as server,
        lab.asker.udp() as sock,
    ):
        lab.known("127.0.0.1")
        names = ("same.zone.test", "SAME.zone.test", "Same.Zone.test")

        def waits(packet: bytes) -> bytes:
            for number, name in enumerate(names):
                sock.send(dns.message.make_query(name, "A", id=number).to_wire())
            end = time.monotonic() + 5
            while lab.server._forwarder._shares["a"] < 4:
                assert time.monotonic() < end
            return says("198.51.100.3")(packet)

        server.answer = quick_only(lab, waits)
        sock.send(dns.message.make_query(names[0], "A", id=9).to_wire())
        replies = [dns.message.from_wire(sock.recv(512)) for _ in range(4)]
        assert lab.seen == [QuickQuery] and len(server.asked) == 2
    spelled = {(reply.id, reply.question[0].name.to_text(True)) for reply in replies}
    assert spelled == {(9, names[0]), *enumerate(names)}
    assert all(found(reply) == ["198.51.100.3"] for reply in replies)
    assert lab.server._forwarder._shares["a"] == 0


def test_the_oldest_quick_query_gives_way_at_the_limit(lab):
    with (
        serving(lab.loop),
        upstream(lab.asker.ns, "127.0.0.1", says("198.51.100.1")) as server,
        lab.asker.udp() as sock,
    ):
        lab.known("127.0.0.1")
        server.answer = lambda packet: None
        count = forward.MAX_CLIENTS_PER_SANDBOX + 5
        for number in range(count):
            sock.send(dns.message.make_query(f"n{number}.zone.test", "A", id=number).to_wire())
        early = [dns.message.from_wire(sock.recv(512)) for _ in range(5)]
        assert [(reply.id, reply.rcode()) for reply in early] == [(number, dns.rcode.SERVFAIL) for number in range(5)]
        assert len(lab.pending()) == forward.MAX_CLIENTS_PER_SANDBOX


def test_the_late_response_to_a_closed_container_is_dropped(service, resolv_conf):
    server, loop, asker = service
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    resolv_conf.write_text("nameserver 127.0.0.53\n")
    with upstream(own, "127.0.0.53", says("198.51.100.1")) as first, asker.udp(0.2) as sock:
        with serving(loop):
            assert asker.addresses("known.zone.test") == ["198.51.100.1"]
            first.answer = lambda packet: None
            sock.send(dns.message.make_query("late.zone.test", "A").to_wire())
            end = time.monotonic() + 5
            while "late.zone.test." not in first.names():
                assert time.monotonic() < end
        assert [type(query) for query in server._forwarder._routes.races["a"].values()] == [QuickQuery]
        server.close("a")
        assert server._forwarder._shares["a"] == 0 and server.counters.outcomes["dropped"] == 1
        first.say(says("198.51.100.2")(first.asked[-1]))
        turn(loop)
        with pytest.raises(TimeoutError):
            sock.recv(512)
    os.close(own)
    assert server.counters.outcomes["upstream"] == 1


def turn(loop: Loop) -> None:
    """Let the loop handle what has arrived."""
    loop.call_later(0.02, loop.stop)
    loop.run()


class Counted:
    """Counts the calls of *methods* of *target*, and passes all on."""

    def __init__(self, target, counts, *methods):
        self._target, self._counts, self._methods = target, counts, methods

    def __getattr__(self, name):
        method = getattr(self._target, name)
        if name in self._methods:
            self._counts[name] += 1
        return method


@pytest.fixture
def counts(lab, monkeypatch):
    """The numbers of the server's system calls by name."""
    counts: Counter[str] = Counter()
    opened = port_table._opened

    def counting(family: int, number: int) -> list[object]:
        return [Counted(sock, counts, "connect", "send", "recv", "recv_into") for sock in opened(family, number)]

    def disconnect(*words: object) -> int:
        counts["disconnect"] += 1
        return connect(*words)

    connect = udp_ports._libc_connect
    monkeypatch.setattr(udp_ports, "WINDOW", 0.0)
    monkeypatch.setattr(port_table, "_opened", counting)
    monkeypatch.setattr(udp_ports, "_libc_connect", disconnect)
    monkeypatch.setattr(datagrams, "_libc", Counted(datagrams._libc, counts, "recvmmsg", "sendmmsg"))
    monkeypatch.setattr(lab.loop, "_epoll", Counted(lab.loop._epoll, counts, "poll", "register", "unregister"))
    with serving(lab.loop), upstream(lab.asker.ns, "127.0.0.1", says("198.51.100.1")):
        lab.known("127.0.0.1")
    return counts


def collected(loop: Loop, sock: socket.socket, count: int) -> list[tuple[bytes, tuple[str, int]]]:
    """Run the loop until *count* packets have arrived at *sock*."""
    sock.setblocking(False)
    found: list[tuple[bytes, tuple[str, int]]] = []
    end = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < end
        turn(loop)
        with suppress(BlockingIOError):
            while True:
                found.append(sock.recvfrom(512))
    return found


def exchange(lab, names) -> None:
    """Let all queries arrive before the server runs, and all responses before it runs again."""
    with netns.socket_in(lab.asker.ns, socket.AF_INET, socket.SOCK_DGRAM) as server, lab.asker.udp() as sock:
        server.bind(("127.0.0.1", 53))
        for number, name in enumerate(names):
            sock.send(dns.message.make_query(name, "A", id=number).to_wire())
        for packet, source in collected(lab.loop, server, len(names)):
            server.sendto(says("198.51.100.2")(packet), source)
        replies = [dns.message.from_wire(packet) for packet, _ in collected(lab.loop, sock, len(names))]
    assert {reply.id: reply.question[0].name.to_text() for reply in replies} == {
        number: f"{name}." for number, name in enumerate(names)
    }
    assert all(found(reply) == ["198.51.100.2"] for reply in replies)


def test_a_batch_of_forwarded_queries_takes_less_than_a_system_call_for_each(lab, counts, monkeypatch):
    monkeypatch.setattr(udp_ports, "OWN_PORTS", 0)
    counts.clear()
    exchange(lab, [f"n{number}.zone.test" for number in range(128)])
    del counts["poll"]  # The test interrupts the loop.
    assert counts.total() < 128, counts


def test_a_query_with_a_port_of_its_own_takes_eight_system_calls(lab, counts):
    counts.clear()
    exchange(lab, ["single.zone.test"])
    del counts["poll"]
    assert counts.total() <= 8, counts


def test_a_batch_of_local_answers_takes_two_system_calls(lab, counts):
    with serving(lab.loop):
        for _ in range(8):
            lab.asker.ask("web", id=1)
    counts.clear()
    with lab.asker.udp() as sock:
        for number in range(30):
            sock.send(dns.message.make_query("web", "A", id=number).to_wire())
        turn(lab.loop)
        assert {dns.message.from_wire(sock.recv(512)).id for _ in range(30)} == set(range(30))
    del counts["poll"]
    assert counts == {"recvmmsg": 1, "sendmmsg": 1}


@given(st.lists(st.sampled_from(["A", "AAAA", "CNAME", "TXT"]), max_size=6), st.integers(0, 80), st.booleans())
def test_the_scan_of_a_plain_answer_agrees_with_the_cache(kinds, cut, edns):
    data = {"A": "192.0.2.1", "AAAA": "2001:db8::1", "CNAME": "other.test.", "TXT": "text"}
    query = dns.message.make_query("a.test", "A", use_edns=0 if edns else False)
    reply = dns.message.make_response(query)
    for number, kind in enumerate(kinds):
        reply.answer.append(dns.rrset.from_text(f"n{number}.test.", 300 - number, "IN", kind, data[kind]))
    packet = reply.to_wire()
    packet = packet[: len(packet) - cut] if cut < len(packet) - 12 else packet
    scanned = plain_answer(packet, question_end(packet)) if question_end(packet) <= len(packet) else None
    assert scanned == (lifetime(packet[2:]) if kinds else None)
