"""Units: views, upstreams and their health, and the protocol between netd and netd-dns."""

from __future__ import annotations

import itertools
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import dns.message
import pytest
from dns_lab import inside, read_frame, says, serving, upstream
from hypothesis import given
from hypothesis import strategies as st

from netd.dns import protocol
from netd.dns.forwarding import upstreams
from netd.dns.forwarding.upstreams import RETRY, HostFile, QueryPlan, UpstreamHealth, parse
from netd.dns.protocol import MessageSocket, decode, encode
from netd.dns.records import NetworkRecords, Patch, Service, Upstream, View
from netd.dns.server import tcp
from netd.dns.server.batch import SLOTS
from netd.dns.views import MAX_PREPARED, ViewTable

A, B, C = Upstream("192.0.2.1"), Upstream("192.0.2.2"), Upstream("192.0.2.3")


def test_a_change_empties_the_scopes_that_look_at_it_and_no_others():
    views = ViewTable()
    for network in ("n1", "n2"):
        views.set_network(network, NetworkRecords(network))
    first, same, other = (views.acquire(View(networks)) for networks in (("n1",), ("n1",), ("n2",)))
    assert first is same, "sandboxes with the same view share prepared replies"
    for change in (
        lambda: views.set_network("n1", NetworkRecords("n1")),
        lambda: views.patch_network("n1", Patch({"a": ("10.0.0.1",)})),
        lambda: views.drop_network("n1"),
    ):
        first.prepare(b"question", b"reply")
        other.prepare(b"question", b"reply")
        change()
        assert not first.prepared and other.prepared
    views.release(first)
    assert views.acquire(View(("n1",))) is same
    views.release(same)
    views.release(same)
    assert views.acquire(View(("n1",))) is not same


def test_what_is_prepared_is_bounded():
    shared_view = ViewTable().acquire(View())
    for n in range(3 * MAX_PREPARED):
        shared_view.prepare(n.to_bytes(4), b"reply")
    assert MAX_PREPARED * 3 // 4 < len(shared_view.prepared) <= MAX_PREPARED, "the last ones stay"


def test_the_answers_for_all_names_of_a_large_network_stay_prepared():
    views, count = ViewTable(), 3000
    shared_view = views.acquire(View(("n1",)))
    views.set_network("n1", NetworkRecords("n1", {f"c{n}": ("10.0.0.1",) for n in range(count)}))
    for n in range(2 * count):
        shared_view.prepare(n.to_bytes(4), b"reply")
    assert len(shared_view.prepared) == 2 * count
    views.patch_network("n1", Patch({f"c{n}": () for n in range(count)}))
    for n in range(2 * count):
        shared_view.prepare(n.to_bytes(4), b"reply")
    assert len(shared_view.prepared) <= MAX_PREPARED


def test_the_hosts_file_is_read_when_it_has_changed(tmp_path: Path):
    path = tmp_path / "resolv.conf"
    host = HostFile(path)
    assert host.upstreams() == ()
    path.write_text("nameserver 192.0.2.1\n")
    assert host.upstreams() == (A,)
    new = tmp_path / "new"
    new.write_text("nameserver 192.0.2.2\n")
    os.utime(new, ns=(0, path.stat().st_mtime_ns))
    new.rename(path)
    assert host.upstreams() == (B,)
    path.unlink()
    assert host.upstreams() == ()


def test_resolv_conf_gives_its_first_three_usable_servers():
    text = "#nameserver 1.1.1.1\n;x\nnameserver\nnameserver dns.example\n nameserver ::1 # six\n"
    text += "nameserver fe80::1%eth0\nnameserver\t192.0.2.1\nnameserver 192.0.2.2\noptions ndots:1\n"
    assert parse(text) == (Upstream("::1"), Upstream("fe80::1%eth0"), A)


def test_a_silent_resolver_goes_last_and_is_probed_beside_one_that_answers():
    health = UpstreamHealth()
    assert health.plan("s", (A, B, C), 0) == QueryPlan((A, B, C))
    health.record_silence("s", A, since=0, now=1)
    assert health.plan("s", (A, B, C), 2) == QueryPlan((B, C, A))
    assert health.plan("s", (A, B), 1 + RETRY) == QueryPlan((B,), (A,))
    assert health.plan("s", (A, B), 2 + RETRY) == QueryPlan((B, A)), "probes are rate-limited"
    assert health.plan("s", (A,), 1 + 3 * RETRY) == QueryPlan((A,)), "there is no other resolver"
    health.record_response("s", A, 50)
    assert health.plan("s", (A, B), 51) == QueryPlan((A, B))


def test_a_resolver_that_answers_others_is_only_slow():
    health = UpstreamHealth()
    health.record_response("s", A, 5.5)
    health.record_silence("s", A, since=5, now=6)
    assert health.plan("s", (A, B), 7) == QueryPlan((A, B))


def test_resolvers_inside_are_each_sandboxs_own_affair():
    health, own = UpstreamHealth(), Upstream("192.0.2.1", inside=True)
    health.record_silence("s", own, 0, 1)
    assert health.plan("s", (own, B), 2).order == (B, own)
    assert health.plan("t", (own, B), 2).order == (own, B)
    health.forget("s")
    assert health.plan("s", (own, B), 2).order == (own, B)


def test_a_silent_connection_is_closed_and_a_busy_one_is_not(service, monkeypatch):
    _, loop, container = service
    monkeypatch.setattr(tcp, "IDLE_LIMIT", 1.0)
    query = dns.message.make_query("web", "A").to_wire()
    with serving(loop), container.tcp() as silent, container.tcp() as busy:
        silent.settimeout(0.05)
        closed = False
        while not closed:
            busy.sendall(len(query).to_bytes(2) + query)
            read_frame(busy)
            with suppress(TimeoutError):
                closed = silent.recv(1) == b""
        busy.sendall(len(query).to_bytes(2) + query)
        read_frame(busy)


def test_questions_that_are_work_shorten_a_containers_turns(service):
    server, loop, container = service
    sandbox = next(iter(server.sandboxes()))
    with serving(loop):
        for _ in range(8):
            container.ask("web", id=1)
    assert sandbox.burst == SLOTS
    with serving(loop):
        container.ask("unknown")
    assert sandbox.burst < SLOTS / 4


def test_a_resolver_that_has_come_back_is_asked_again(service, monkeypatch):
    server, loop, container = service
    monkeypatch.setattr(upstreams, "RETRY", 1.5)
    server.set_view("a", View(("n1",), upstreams=inside("127.0.0.1", "127.0.0.2")))
    with (
        serving(loop),
        upstream(container.ns, "127.0.0.1", lambda packet: None) as first,
        upstream(container.ns, "127.0.0.2", says("198.51.100.2")),
    ):
        names, passed_over = itertools.count(), False
        while not passed_over:
            before = len(first.asked)
            assert container.addresses(f"{next(names)}.test") == ["198.51.100.2"]
            passed_over = len(first.asked) == before
        first.asked.clear()
        first.answer = says("198.51.100.1")
        begin, asked = time.monotonic(), 0
        while container.addresses(f"{asked}.again.test") == ["198.51.100.2"]:
            assert time.monotonic() - begin < 30
            asked += 1
        assert asked > 5 and len(first.asked) <= 4, "the resolver was not queried each time"


words = st.text(max_size=8)
resolvers = st.lists(st.builds(Upstream, words, st.booleans())).map(tuple)
texts = st.lists(words).map(tuple)
views = st.builds(
    View,
    texts,
    st.dictionaries(words, words),
    resolvers,
    st.booleans(),
    st.booleans(),
    texts,
    st.lists(st.tuples(words, resolvers)).map(tuple),
)
names = st.dictionaries(words, texts)
pointers = st.dictionaries(words, words)
services = st.dictionaries(words, st.lists(st.builds(Service, words, st.integers(), st.integers())).map(tuple))
records = st.builds(NetworkRecords, words, names, pointers, texts, services)
patches = st.builds(Patch, names, pointers, services)
messages = st.one_of(
    st.builds(protocol.Hello, words),
    st.builds(protocol.Welcome, words, texts),
    st.builds(protocol.Held, words),
    st.builds(protocol.Ready),
    st.builds(protocol.Stop),
    st.builds(protocol.OpenSandbox, words),
    st.builds(protocol.CloseSandbox, words),
    st.builds(protocol.SetView, words, views),
    st.builds(protocol.SetNetwork, words, records),
    st.builds(protocol.PatchNetwork, words, patches),
    st.builds(protocol.DropNetwork, words),
    st.builds(protocol.Sync, st.integers()),
    st.builds(protocol.Synced, st.integers()),
)


@given(messages)
def test_messages_arrive_as_they_were_sent(message):
    assert decode(encode(message)) == message


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'["Nobody",{}]', b'["Sync",{}]', b'["Sync",1]', b"\xff"])
def test_what_is_no_message_is_refused(data):
    with pytest.raises(ValueError):
        decode(data)


def test_frames_and_descriptors_keep_together_when_the_pipe_is_full():
    left, right = map(MessageSocket, socket.socketpair())
    large = protocol.SetNetwork("n", NetworkRecords("n", {f"name-{n}": (f"10.0.0.{n}",) for n in range(20000)}))
    inodes, received = [], []
    for n in range(40):
        read, write = os.pipe()
        inodes.append((os.fstat(read).st_ino, os.fstat(write).st_ino))
        left.queue(protocol.OpenSandbox(str(n)), (read, write))
        left.queue(large if n % 10 == 0 else protocol.Sync(n))
        os.close(read)
        os.close(write)
    while not left.push():
        received += list(right.receive())
    received += list(right.receive())
    assert [message for message, _ in received[1::2]] == [large if n % 10 == 0 else protocol.Sync(n) for n in range(40)]
    assert [tuple(os.fstat(fd).st_ino for fd in fds) for _, fds in received[::2]] == inodes
    for _, descriptors in received:
        for descriptor in descriptors:
            os.close(descriptor)
    left.queue(protocol.Ready())
    left.close()
    with pytest.raises(EOFError):
        list(right.receive())
    right.close()


def test_the_version_depends_on_the_modules_of_subpackages(monkeypatch, tmp_path):
    module = tmp_path / "protocol.py"
    module.write_text("")
    monkeypatch.setattr(protocol, "__file__", str(module))
    before = protocol.version()
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "udp.py").write_text("PORT = 53")
    assert protocol.version() != before
