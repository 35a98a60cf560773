"""A container with many unanswered queries does not delay other containers' queries, and hardly its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import dns.message
from dns_lab import DnsHost, found, inside, read_frame, says, upstream
from hypothesis import given
from hypothesis import strategies as st

from netd.dns.forwarding.fair_shares import Shares
from netd.dns.forwarding.forward import MAX_CLIENTS, MAX_CLIENTS_PER_SANDBOX
from netd.dns.forwarding.upstream_race import DEADLINE
from netd.dns.records import View
from netd.dns.server.tcp import MAX_CONNECTIONS


def silent_on(word: bytes, address: str) -> Callable[[bytes], bytes | None]:
    """Answer all names except those that contain *word*."""
    return lambda packet: None if word in packet.lower() else says(address)(packet)


def test_containers_that_ask_a_silent_zone_leave_all_others_their_names(on_host, resolv_conf):
    async def scenario(dns_host: DnsHost) -> None:
        resolv_conf.write_text("nameserver 127.0.0.53\n")
        greedy = [
            await dns_host.container(f"g{n}", View(("n1",))) for n in range(MAX_CLIENTS // MAX_CLIENTS_PER_SANDBOX)
        ]
        other = await dns_host.container("other", View(("n1",)))
        with upstream(dns_host.host, "127.0.0.53", silent_on(b"silent", "198.51.100.1")), ExitStack() as stack:
            for asker in greedy:
                sock = stack.enter_context(asker.udp())
                for n in range(MAX_CLIENTS_PER_SANDBOX + 20):
                    sock.send(dns.message.make_query(f"{n}.silent", "A").to_wire())
            for n in range(5):
                assert other.addresses(f"{n}.live") == ["198.51.100.1"]
                assert greedy[0].addresses(f"{n}.own") == ["198.51.100.1"], "nor are its own"

    on_host(scenario)


def test_connections_that_wait_for_an_answer_are_not_ended_for_others(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        release = threading.Event()

        def late(packet: bytes) -> bytes:
            release.wait(10)
            return says("198.51.100.1")(packet)

        with upstream(asker.ns, "127.0.0.1", late), ExitStack() as stack:
            idle = [stack.enter_context(asker.tcp(12)) for _ in range(4)]
            socks = []
            for n in range(MAX_CONNECTIONS + 8):
                socks.append(sock := stack.enter_context(asker.tcp()))
                wire = dns.message.make_query(f"{n}.test", "A").to_wire()
                sock.sendall(len(wire).to_bytes(2) + wire)
            assert idle[0].recv(1) == b"", "the query was not delayed"
            release.set()
            for sock in socks:
                assert found(dns.message.from_wire(read_frame(sock))) == ["198.51.100.1"]

    on_host(scenario)


def test_a_slow_name_is_not_held_against_its_resolver(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1", "127.0.0.2")))
        with (
            upstream(asker.ns, "127.0.0.1", silent_on(b"slow", "198.51.100.1")) as first,
            upstream(asker.ns, "127.0.0.2", says("198.51.100.2")),
        ):
            for n in range(4):
                begin = time.monotonic()
                assert asker.addresses(f"{n}.slow.test") == ["198.51.100.2"]
                assert time.monotonic() - begin < DEADLINE - 1
                while len(first.probes) <= n:
                    assert time.monotonic() - begin < 20
                    await asyncio.sleep(0.01)
                assert asker.addresses(f"{n}.test") == ["198.51.100.1"], "the first container is still served first"

    on_host(scenario)


def test_a_client_may_close_its_side_after_its_questions(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))

        def slow(packet: bytes) -> bytes:
            time.sleep(0.2)  # Time for the end of the connection to arrive.
            return says("198.51.100.1")(packet)

        with upstream(asker.ns, "127.0.0.1", slow), asker.tcp() as sock:
            wires = [dns.message.make_query(name, "A").to_wire() for name in ("x.test", "web", "y.test", "db")]
            sock.sendall(b"".join(len(wire).to_bytes(2) + wire for wire in wires) + b"\0\7half")
            sock.shutdown(1)
            received = b""
            while data := sock.recv(4096):
                received += data
            answers = []
            while received:
                end = 2 + int.from_bytes(received[:2])
                answers += found(dns.message.from_wire(received[2:end]))
                received = received[end:]
        assert sorted(answers) == ["10.1.0.2", "10.1.0.3", "198.51.100.1", "198.51.100.1"]

    on_host(scenario)


@given(st.lists(st.sampled_from("abcde"), max_size=60))
def test_queries_of_containers_with_few_pending_ones_are_not_dropped(askers):
    shares = Shares(12, 8)
    for asker in askers:
        while (gives := shares.container_to_drop(asker)) is not None:
            assert gives == asker or shares[gives] >= max(shares[asker], 2)
            shares.end(gives)
        shares.begin(asker)
        held = [shares[name] for name in "abcde"]
        assert sum(held) <= 12 and max(held) <= 8
