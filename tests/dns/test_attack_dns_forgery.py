"""Forged, malformed and unusable replies of resolvers: which are accepted, and which cause another query."""

from __future__ import annotations

from collections.abc import Callable

import dns.message
import dns.rcode
import pytest
from dns_lab import Container, DnsHost, fails, found, inside, says, upstream
from hypothesis import given
from hypothesis import strategies as st

from netd.dns.forwarding.case_randomization import folded, mixed, restored
from netd.dns.forwarding.reply_checks import is_whole
from netd.dns.messages.message import question_end
from netd.dns.records import View

Answer = Callable[[bytes], "bytes | None"]
NAME = "a-rather-long-name-to-guess.Example.COM"
letters = st.text("abcXYZ019-_", min_size=1, max_size=63)


def lowered(answer: Answer) -> Answer:
    """Reply as a server that returns names in lower case."""

    def reply(packet: bytes) -> bytes | None:
        end = question_end(packet) - 4
        return answer(packet[:12] + packet[12:end].lower() + packet[end:])

    return reply


def only_lower(answer: Answer) -> Answer:
    """Reply as a server that does not find names with upper-case letters."""
    return lambda packet: answer(packet) if packet[12:-4].islower() else fails(dns.rcode.NXDOMAIN)(packet)


def deaf_to_upper(answer: Answer) -> Answer:
    return lambda packet: answer(packet) if packet[12:-4].islower() else None


def raw(asker: Container, name: str) -> bytes:
    with asker.udp() as sock:
        sock.send(dns.message.make_query(name, "A").to_wire())
        return sock.recv(4096)


def test_a_forger_has_to_guess_the_case_too(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))

        def forged(packet: bytes) -> bytes:
            if not server.asked[1:]:
                wrong = bytes(octet ^ 0x20 if chr(octet).isalpha() else octet for octet in packet[12:-4])
                server.say(says("203.0.113.66")(packet[:12] + wrong + packet[-4:]))
            return says("198.51.100.1")(packet)

        with upstream(asker.ns, "127.0.0.1", forged) as server:
            assert asker.addresses(NAME) == ["198.51.100.1"]

    on_host(scenario)


def test_names_travel_in_mixed_case_and_come_back_as_they_were_asked(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        with upstream(asker.ns, "127.0.0.1", says("198.51.100.1")) as server:
            for name in (NAME, NAME.lower(), NAME.upper()):
                wire = dns.message.make_query(name, "A").to_wire()[12:-4]
                assert raw(asker, name)[12 : 12 + len(wire)] == wire
            assert len({packet[12:-4] for packet in server.asked}) == 3
            assert all(packet[12:-4] not in (wire, wire.lower()) for packet in server.asked)

    on_host(scenario)


@pytest.mark.parametrize("kind", [lowered, only_lower, deaf_to_upper])
def test_a_server_that_minds_the_case_is_asked_in_plain_case(on_host, kind):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        with upstream(asker.ns, "127.0.0.1", kind(says("198.51.100.1"))) as server:
            assert asker.addresses("first.example.com") == ["198.51.100.1"]
            server.asked.clear()
            for n in range(5):
                assert asker.addresses(f"n{n}.example.com") == ["198.51.100.1"]
            assert [packet[12:-4].lower() for packet in server.asked] == [packet[12:-4] for packet in server.asked]
            assert len(server.asked) == 5
            if kind is lowered:
                wire = dns.message.make_query(NAME, "A").to_wire()[12:-4]
                assert raw(asker, NAME)[12 : 12 + len(wire)] == wire

    on_host(scenario)


def test_waiters_with_different_spelling_get_their_own(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        names = ("same.test", "SAME.test", "Same.Test")
        with asker.udp() as sock:

            def waits(packet: bytes) -> bytes:
                for number, name in enumerate(names if len(server.asked) == 1 else ()):
                    sock.send(dns.message.make_query(name, "A", id=number).to_wire())
                return says("198.51.100.1")(packet)

            with upstream(asker.ns, "127.0.0.1", waits) as server:
                sock.send(dns.message.make_query(names[0], "A", id=9).to_wire())
                replies = [dns.message.from_wire(sock.recv(512)) for _ in range(4)]
        assert {(reply.id, reply.question[0].name.to_text(True)) for reply in replies} == {
            (9, names[0]),
            *enumerate(names),
        }
        assert all(found(reply) == ["198.51.100.1"] for reply in replies)

    on_host(scenario)


def cut_short(packet: bytes) -> bytes:
    """Reply with a packet that ends inside the address."""
    return says("203.0.113.66")(packet)[:-2]


def counts_too_much(packet: bytes) -> bytes:
    reply = says("203.0.113.66")(packet)
    return reply[:6] + b"\0\2" + reply[8:]


def points_forward(packet: bytes) -> bytes:
    """Reply with an owner name that is a pointer to itself."""
    reply, at = says("203.0.113.66")(packet), len(packet)
    return reply[:at] + (0xC000 | at).to_bytes(2) + reply[at + 2 :]


def bare_denial(packet: bytes) -> bytes:
    return packet[:2] + b"\x81\x83" + bytes(8)


def lame(packet: bytes) -> bytes:
    """Reply with no records and without recursion."""
    return packet[:2] + b"\x81\0" + packet[4:]


@pytest.mark.parametrize(
    "useless",
    [cut_short, counts_too_much, points_forward, bare_denial, lame, fails(dns.rcode.NOTIMP), fails(dns.rcode.FORMERR)],
)
def test_the_next_resolver_is_asked_when_a_reply_is_of_no_use(on_host, useless):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1", "127.0.0.2")))
        with (
            upstream(asker.ns, "127.0.0.1", useless),
            upstream(asker.ns, "127.0.0.2", says("198.51.100.2")),
        ):
            assert asker.addresses("x.test") == ["198.51.100.2"]
            assert asker.addresses("y.test", tcp=True) == ["198.51.100.2"]

    on_host(scenario)


@given(st.lists(letters, min_size=1, max_size=3).map(".".join), st.booleans())
def test_only_the_case_of_the_name_is_drawn(name, edns):
    query = dns.message.make_query(name, "HTTPS", use_edns=0 if edns else False, payload=0x4141).to_wire()[2:]
    end = question_end(b"\0\0" + query) - 6
    sent = mixed(query, end)
    assert sent[10:end].lower() == query[10:end].lower() and sent[:10] + sent[end:] == query[:10] + query[end:]
    assert folded(sent, end) == folded(query, end)
    assert restored(sent, sent, query, end) == query


@given(st.binary(max_size=120), st.binary(max_size=40))
def test_no_reply_raises(noise, rest):
    packet = dns.message.make_query("x.test", "A").to_wire()
    for reply in (noise + bytes(12), packet[:4] + noise + packet[12:] + rest, packet[:12] + noise):
        assert is_whole(reply + bytes(12)) in (True, False)
