"""Forwarding of queries to resolvers in the host's or the container's namespace, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack
from dataclasses import replace

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns.edns import GenericOption
from dns_lab import DnsHost, fails, found, inside, says, upstream
from dnslib import QTYPE, RR, A, DNSRecord

from netd.dns.forwarding import forward
from netd.dns.forwarding.probes import is_probe
from netd.dns.forwarding.upstream_race import DEADLINE
from netd.dns.messages.edns_options import without_hop_options
from netd.dns.records import NetworkRecords, Patch, Upstream, View
from netd.kernel.namespaces import netns

AT_ONCE = DEADLINE - 1
"""Seconds within which an answer came without waiting for a server; queries that wait end after DEADLINE."""


def test_the_hosts_resolvers_are_asked_as_they_are_now(on_host, resolv_conf):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        assert asker.ask("example.com").rcode() == dns.rcode.SERVFAIL, "there is no resolver"
        assert asker.ask("nobody").rcode() == dns.rcode.NXDOMAIN, "only netd has names of one label"
        with upstream(dns_host.host, "127.0.0.53", says("198.51.100.1")) as first:
            resolv_conf.write_text("# by hand\nsearch x\nnameserver nonsense\nnameserver 127.0.0.53\n")
            assert asker.addresses("example.com") == ["198.51.100.1"]
            assert asker.addresses("example.com", tcp=True) == ["198.51.100.1"]
            assert asker.addresses("web") == ["10.1.0.2"]
            assert asker.ask("web", "MX").answer == []
            with upstream(dns_host.host, "127.0.0.54", says("198.51.100.2")):
                resolv_conf.write_text("nameserver 127.0.0.54\n")
                assert asker.addresses("example.com") == ["198.51.100.2"]
            assert set(first.names()) == {"example.com."}, "netd's names are never forwarded"

    on_host(scenario)


def test_an_internal_container_asks_nobody_outside_but_its_own_resolvers(on_host, resolv_conf):
    async def scenario(dns_host: DnsHost) -> None:
        with upstream(dns_host.host, "127.0.0.53", says("198.51.100.1")) as host:
            resolv_conf.write_text("nameserver 127.0.0.53\n")
            asker = await dns_host.container("a", View(("n1",), forward=False))
            assert asker.ask("example.com").rcode() == dns.rcode.NXDOMAIN
            dns_host.client.set_view(
                "a", View(("n1",), upstreams=(*inside("127.0.0.1"), Upstream("127.0.0.53")), forward=False)
            )
            await dns_host.client.flush()
            with upstream(asker.ns, "127.0.0.1", says("198.51.100.7")):
                assert asker.addresses("example.com") == ["198.51.100.7"]
                assert asker.addresses("example.com", tcp=True) == ["198.51.100.7"]
            dns_host.client.set_view("a", View(("n1",)))
            await dns_host.client.flush()
            assert not host.asked
            assert asker.addresses("example.com") == ["198.51.100.1"], (
                "the container now has a network with a route to the outside"
            )

    on_host(scenario)


def test_it_never_asks_itself(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.11", "::ffff:127.0.0.11")))
        begin = time.monotonic()
        assert asker.ask("example.com").rcode() == dns.rcode.SERVFAIL
        assert time.monotonic() - begin < AT_ONCE

    on_host(scenario)


def test_a_circle_of_resolvers_ends(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))

        def back(packet: bytes) -> bytes | None:
            if is_probe(packet[2:]):
                return None
            with asker.udp() as sock:
                sock.send(packet)
                return sock.recv(4096)

        with upstream(asker.ns, "127.0.0.1", back) as circle:
            assert asker.ask("example.com").rcode() == dns.rcode.SERVFAIL
            begin = time.monotonic()
            assert asker.ask("example.com", id=1).rcode() == dns.rcode.SERVFAIL
            assert time.monotonic() - begin < AT_ONCE, "the resolver's timeout is remembered"
        assert len(circle.asked) <= 4

    on_host(scenario)


@pytest.mark.parametrize("code", [None, dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_failure_moves_on_to_the_next_resolver(on_host, code):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1", "127.0.0.2")))
        with ExitStack() as servers:
            if code is not None:
                servers.enter_context(upstream(asker.ns, "127.0.0.1", fails(code)))
            servers.enter_context(upstream(asker.ns, "127.0.0.2", says("198.51.100.2")))
            begin = time.monotonic()
            assert asker.addresses("udp.test") == ["198.51.100.2"]
            assert asker.addresses("tcp.test", tcp=True) == ["198.51.100.2"]
            assert time.monotonic() - begin < AT_ONCE
        assert asker.ask("none.test").rcode() == dns.rcode.SERVFAIL, "all ports are closed"
        assert asker.ask("none.test", tcp=True).rcode() == dns.rcode.SERVFAIL

    on_host(scenario)


def test_a_resolver_without_a_route_to_it_costs_no_time(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("192.0.2.1", "2001:db8::1", "127.0.0.2")))
        with upstream(asker.ns, "127.0.0.2", says("198.51.100.2")):
            begin = time.monotonic()
            assert asker.addresses("udp.test") == ["198.51.100.2"]
            assert asker.addresses("tcp.test", tcp=True) == ["198.51.100.2"]
            assert time.monotonic() - begin < AT_ONCE

    on_host(scenario)


def test_an_answer_ends_the_search_even_if_it_is_no(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1", "127.0.0.2")))
        with upstream(asker.ns, "127.0.0.1", fails(dns.rcode.NXDOMAIN)):
            with upstream(asker.ns, "127.0.0.2", says("198.51.100.2")) as second:
                assert asker.ask("none.test").rcode() == dns.rcode.NXDOMAIN
                assert not second.asked

    on_host(scenario)


def test_a_silent_resolver_is_passed_over_after_the_first_time(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1", "127.0.0.2")))
        with (
            upstream(asker.ns, "127.0.0.1", lambda packet: None) as dead,
            upstream(asker.ns, "127.0.0.2", says("198.51.100.2")),
        ):
            begin = time.monotonic()
            assert asker.addresses("first.test") == ["198.51.100.2"]
            assert time.monotonic() - begin > 0.15
            for n in range(20):
                assert asker.addresses(f"{n}.test") == ["198.51.100.2"]
        assert set(dead.names()) <= {"first.test.", "0.test."} and dead.probes

    on_host(scenario)


def test_a_slow_resolver_delays_no_answer_of_ours(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        with upstream(asker.ns, "127.0.0.1", lambda packet: None), asker.udp() as sock:
            for n in range(forward.MAX_CLIENTS_PER_SANDBOX):
                sock.send(dns.message.make_query(f"{n}.test", "A").to_wire())
            begin = time.monotonic()
            assert asker.addresses("web") == ["10.1.0.2"]
            assert time.monotonic() - begin < AT_ONCE, "the other queries wait for more than four seconds"
            sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                sock.recv(512)

    on_host(scenario)


def test_what_travels_is_the_query_itself_with_fresh_ids_and_ports(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        with upstream(asker.ns, "127.0.0.1", says("198.51.100.1")) as server:
            queries = [dns.message.make_query(f"N{n}.Example.COM", "A", use_edns=0, payload=1400) for n in range(30)]
            with asker.udp() as sock:
                for query in queries:
                    query.id = 7
                    sock.send(query.to_wire())
                    reply = dns.message.from_wire(sock.recv(4096))
                    assert query.is_response(reply) and found(reply) == ["198.51.100.1"]
            assert [packet[2:].lower() for packet in server.asked] == [query.to_wire()[2:].lower() for query in queries]
            assert len({packet[:2] for packet in server.asked}) > 25
            assert len(set(server.sources)) > 25

    on_host(scenario)


def test_replies_that_do_not_fit_the_question_are_not_believed(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))

        def lies(packet: bytes) -> bytes:
            true = says("198.51.100.1")(packet)
            false = says("203.0.113.66")(packet)
            other_id = bytes([false[0] ^ 1]) + false[1:]
            other_name = false[:14] + b"?" + false[15:]
            other_type = false[:26] + b"\x1c" + false[27:]
            not_a_reply = false[:2] + bytes([false[2] & 0x7F]) + false[3:]
            for lie in (other_id, other_name, other_type, not_a_reply, false[:8], b""):
                server.say(lie)
            for source in (("127.0.0.1", 0), ("127.0.0.2", 53)):
                with netns.socket_in(asker.ns, socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                    stranger.bind(source)
                    stranger.sendto(false, ("127.0.0.1", server.sources[-1]))
            return true

        with upstream(asker.ns, "127.0.0.1", lies) as server:
            assert asker.addresses("example.com") == ["198.51.100.1"]

    on_host(scenario)


def test_truncated_and_oversized_replies_pass_as_they_are(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))

        def answer(packet: bytes) -> bytes:
            reply = DNSRecord.parse(packet).reply(aa=0)
            reply.header.tc = int(b"cut" in packet.lower())
            for n in range(0 if b"cut" in packet.lower() else 50):
                reply.add_answer(RR(reply.q.qname, QTYPE.A, rdata=A(f"198.51.100.{n}")))
            return bytes(reply.pack())

        with upstream(asker.ns, "127.0.0.1", answer):
            assert asker.ask("cut.test").flags & dns.flags.TC
            assert len(found(asker.ask("large.test"))) == 50

    on_host(scenario)


def test_the_same_question_is_asked_once_at_a_time(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))

        def slow(packet: bytes) -> bytes:
            time.sleep(0.3)  # Time for the following queries to arrive.
            return says("198.51.100.1")(packet)

        with upstream(asker.ns, "127.0.0.1", slow) as server:
            answers = await asyncio.gather(*(asyncio.to_thread(asker.addresses, "same.test") for _ in range(10)))
        assert answers == [["198.51.100.1"]] * 10
        assert len(server.asked) < 5

    on_host(scenario)


def test_names_of_one_label_stay_when_the_container_says_so(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        view = View(("n1",), upstreams=inside("127.0.0.1"), single_labels=False)
        asker = await dns_host.container("a", view)
        with upstream(asker.ns, "127.0.0.1", says("198.51.100.1")) as server:
            reply = asker.ask("printer")
            assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])
            assert asker.addresses("printer.test") == ["198.51.100.1"]
            assert server.names() == ["printer.test."]

    on_host(scenario)


def test_answers_are_kept_and_age(on_host, resolv_conf):
    async def scenario(dns_host: DnsHost) -> None:
        first, second = [await dns_host.container(name, View(("n1",))) for name in "ab"]
        with upstream(dns_host.host, "127.0.0.53", says("198.51.100.1", ttl=2)) as server:
            resolv_conf.write_text("nameserver 127.0.0.53\n")
            begin = time.monotonic()
            assert first.ask("kept.test").answer[0].ttl == 2
            assert found(second.ask("kept.test", id=77)) == ["198.51.100.1"], "for every client"
            assert len(server.asked) == 1
            seen = set()
            while len(server.asked) == 1:
                seen.add(first.ask("kept.test").answer[0].ttl)
                await asyncio.sleep(0.05)
            assert time.monotonic() - begin > 1.9 and seen <= {0, 1, 2}
            for how in ({"want_dnssec": True}, {"flags": dns.flags.RD | dns.flags.CD}, {"tcp": True}):
                before = len(server.asked)
                first.ask("kept.test", **how)
                assert len(server.asked) == before + 1, how

    on_host(scenario)


def test_what_is_kept_belongs_to_the_resolvers_it_came_from(on_host, resolv_conf):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        with (
            upstream(dns_host.host, "127.0.0.53", says("198.51.100.1")),
            upstream(dns_host.host, "127.0.0.54", says("198.51.100.2")),
            upstream(asker.ns, "127.0.0.53", says("198.51.100.3")),
        ):
            resolv_conf.write_text("nameserver 127.0.0.53\n")
            assert asker.addresses("x.test") == ["198.51.100.1"]
            resolv_conf.write_text("nameserver 127.0.0.54\n")
            assert asker.addresses("x.test") == ["198.51.100.2"]
            dns_host.client.set_view("a", View(("n1",), upstreams=inside("127.0.0.53")))
            await dns_host.client.flush()
            assert asker.addresses("x.test") == ["198.51.100.3"]
            dns_host.client.patch_network("n1", Patch({"x.test": ("10.1.0.9",)}))
            await dns_host.client.flush()
            assert asker.addresses("x.test") == ["10.1.0.9"], "a name that is netd's now"

    on_host(scenario)


def test_failures_are_asked_again(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        with upstream(asker.ns, "127.0.0.1", fails(dns.rcode.SERVFAIL)) as server:
            assert asker.ask("x.test").rcode() == dns.rcode.SERVFAIL
            server.answer = says("198.51.100.1")
            assert asker.addresses("x.test") == ["198.51.100.1"]

    on_host(scenario)


def test_resolvers_are_asked_over_ipv6_too(on_host, resolv_conf):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        own = await dns_host.container("b", View(("n1",), upstreams=inside("::1")))
        with upstream(dns_host.host, "::1", says("198.51.100.1")), upstream(own.ns, "::1", says("198.51.100.2")):
            resolv_conf.write_text("nameserver ::1\n")
            for tcp in (False, True):
                assert asker.addresses("x.test", tcp=tcp) == ["198.51.100.1"]
                assert own.addresses("x.test", tcp=tcp) == ["198.51.100.2"]

    on_host(scenario)


def test_a_domain_has_its_own_resolvers(on_host, resolv_conf):
    async def scenario(dns_host: DnsHost) -> None:
        view = View(("n1",), domains=(("corp", (Upstream("127.0.0.54"),)),))
        asker = await dns_host.container("a", view)
        with (
            upstream(dns_host.host, "127.0.0.53", says("198.51.100.1")) as usual,
            upstream(dns_host.host, "127.0.0.54", says("198.51.100.2")) as corp,
        ):
            resolv_conf.write_text("nameserver 127.0.0.53\n")
            assert asker.addresses("a.CORP") == asker.addresses("corp") == ["198.51.100.2"]
            assert asker.addresses("acorp") == asker.addresses("corp.test") == ["198.51.100.1"]
            assert (usual.names(), corp.names()) == (["acorp.", "corp.test."], ["a.corp.", "corp."])
            dns_host.client.set_view("a", replace(view, forward=False))
            await dns_host.client.flush()
            assert asker.ask("b.corp").rcode() == dns.rcode.NXDOMAIN
            assert len(corp.asked) == 2

    on_host(scenario)


@pytest.mark.parametrize("tcp", [False, True])
def test_a_denial_of_a_name_above_ours_becomes_an_empty_answer(on_host, tcp):
    """RFC 8020: a client that caches NXDOMAIN for ``shop.test`` does not query ``db.shop.test``."""

    async def scenario(dns_host: DnsHost) -> None:
        dns_host.client.set_network("n1", NetworkRecords("net", {"db.shop.test": ("10.1.0.9",)}))
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        with upstream(asker.ns, "127.0.0.1", fails(dns.rcode.NXDOMAIN)) as server:
            for _ in range(2):
                assert asker.ask("shop.test", tcp=tcp).rcode() == dns.rcode.NOERROR
                assert asker.ask("beside.test", tcp=tcp).rcode() == dns.rcode.NXDOMAIN
            server.answer = says("198.51.100.1")
            assert asker.addresses("shop.test", "A", tcp=tcp, use_edns=0) == ["198.51.100.1"]

    on_host(scenario)


HOP_OPTIONS = [GenericOption(10, b"12345678"), GenericOption(11, b"\0\1"), GenericOption(12, bytes(20))]
OTHER_OPTIONS = [GenericOption(8, b"\0\1\x18\0\1\2\3"), GenericOption(15, b"\0\x12x")]


@pytest.mark.parametrize("tcp", [False, True])
def test_options_between_neighbours_are_not_forwarded_in_either_direction(on_host, tcp):
    asked = []

    def answer(packet):
        query = dns.message.from_wire(packet)
        asked.append([int(option.otype) for option in query.options])
        reply = dns.message.make_response(query)
        reply.use_edns(0, options=[*HOP_OPTIONS, *OTHER_OPTIONS])
        reply.flags |= dns.flags.RA
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "9.9.9.9"))
        return reply.to_wire()

    async def scenario(host):
        asker = await host.container("asker", View(upstreams=inside("127.0.0.53")))
        with upstream(asker.ns, "127.0.0.53", answer):
            options = {"use_edns": 0, "options": [*HOP_OPTIONS, OTHER_OPTIONS[0]]}
            reply = await asyncio.to_thread(asker.ask, "www.example", tcp=tcp, **options)
        assert found(reply) == ["9.9.9.9"] and reply.edns == 0
        assert [int(option.otype) for option in reply.options] == [8, 15]
        assert asked[-1] == [8]

    on_host(scenario)


@pytest.mark.parametrize("code", [1, 4])
def test_a_server_that_does_not_know_edns_is_asked_without_it(on_host, code):
    def answer(packet):
        if dns.message.from_wire(packet).edns < 0:
            return says("5.6.7.8")(packet)
        return packet[:2] + bytes((0x80, code)) + bytes(8)  # These servers return a header only.

    async def scenario(host):
        asker = await host.container("asker", View(upstreams=inside("127.0.0.53", "127.0.0.54")))
        with upstream(asker.ns, "127.0.0.53", answer), upstream(asker.ns, "127.0.0.54", says("1.1.1.1")) as other:
            reply = await asyncio.to_thread(asker.ask, "www.example", use_edns=0)
        assert found(reply) == ["5.6.7.8"] and not other.asked

    on_host(scenario)


def test_records_after_the_options_stay_readable_when_options_are_removed():
    """The last record's name points to that of the record before, which is after the removed bytes."""
    query = dns.message.make_query("a.example", "A", use_edns=0, options=HOP_OPTIONS).to_wire()
    first = b"\3ns1\7example\0" + b"\0\1\0\1" + bytes(4) + b"\0\4\1\2\3\4"
    second = (0xC000 | len(query)).to_bytes(2) + b"\0\1\0\1" + bytes(4) + b"\0\4\5\6\7\x08"
    packet = query[:2] + b"\x80\0" + query[4:10] + b"\0\3" + query[12:] + first + second
    reply = dns.message.from_wire(without_hop_options(packet))
    assert [(rrset.name.to_text(), rrset[0].address) for rrset in reply.additional] == [("ns1.example.", "1.2.3.4")]
    assert [item.address for item in reply.additional[0]] == ["1.2.3.4", "5.6.7.8"] and not reply.options
    assert without_hop_options(packet[:-5]) == packet[:-5]
    assert without_hop_options(query[:12]) == query[:12]
