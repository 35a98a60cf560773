"""Unusual names and packets: labels are octets, limits are enforced, replies are not amplified."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest
from dns_lab import DnsHost, found, inside, read_frame, says, upstream
from dnslib import DNSRecord

from netd.dns.messages.decide import Answer, EmptyResponse, Forward, Question, Rcode, decide
from netd.dns.messages.message import DnsMessage, parse_query
from netd.dns.records import NetworkRecords, Patch, Service, View, fold

ODD = b"\x04caf\xe9\x02\xff\0\x04Test\0"


def question(name: bytes, kind: int = 1, count: int = 1) -> bytes:
    return b"\0\7\1\0" + count.to_bytes(2) + bytes(6) + (name + kind.to_bytes(2) + b"\0\1") * count


def test_names_that_are_not_text_are_asked_elsewhere_as_they_are(on_host):
    def answer(packet: bytes) -> bytes:
        return packet[:2] + b"\x81\x80" + packet[4:6] + b"\0\1" + bytes(4) + packet[12:] + RECORD

    RECORD = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc6\x33\x64\1"

    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        with upstream(asker.ns, "127.0.0.1", answer) as server, asker.udp() as sock:
            sock.send(question(ODD))
            assert sock.recv(512) == b"\0\7\x81\x80\0\1\0\1" + bytes(4) + ODD + b"\0\1\0\1" + RECORD
            assert {packet[12:-4].lower() for packet in server.asked} == {ODD.lower()}

    on_host(scenario)


def test_only_ascii_letters_have_two_cases():
    assert fold("ÄB.X.") == "Äb.x" and fold("\u212a") == "\u212a", "a Kelvin sign is not equal to k"
    message = parse_query(question(b"\x03\xc3\x84B\0"))
    assert isinstance(message, DnsMessage) and message.question.name == "Äb"
    records = {"n": NetworkRecords("net", {fold("ÄB"): ("10.0.0.1",)})}
    assert decide(message.question, View(("n",)), records) == Answer(("10.0.0.1",))


def test_an_impossible_name_takes_no_answer_with_it(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        long = ".".join(["x" * 60] * 5)
        offers = (Service("web.front-end", 80, 1), Service(long, 80, 1), Service("y" * 64, 80, 1))
        dns_host.client.patch_network("n1", Patch({}, {"10.1.0.9": f"{long}.front-end"}, {"_http._tcp": offers}))
        asker = await dns_host.container("a", View(("n1",), forward=False))
        assert found(asker.ask("_http._tcp", "SRV")) == ["0 0 80 web.front-end."]
        assert found(asker.ask("9.0.1.10.in-addr.arpa", "PTR")) == []
        assert asker.ask("2.0.1.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NOERROR

    on_host(scenario)


def test_edns_is_seen_behind_other_records():
    opt = b"\0\0\x29\4\xd0\0\0\0\0\0\0"
    other = b"\0\0\x10\0\1\0\0\0\0\0\1\0"
    asked = question(b"\3web\0")
    for additional, count in ((opt, 1), (other + opt, 2), (opt + other, 2)):
        message = parse_query(asked[:10] + count.to_bytes(2) + asked[12:] + additional)
        assert isinstance(message, DnsMessage) and message.edns is not None and message.max_size(False) == 1232
    assert parse_query(asked[:10] + b"\0\3" + asked[12:] + opt + other + opt) == Rcode.FORMERR


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("localhost", 1, Answer(("127.0.0.1",))),
        ("localhost", 28, Answer(("::1",))),
        ("a.localhost", 1, Answer(("127.0.0.1",))),
        ("localhost", 15, Answer()),
        ("x.localhost", 1, Answer(("10.0.0.9",))),
        ("some.invalid", 1, EmptyResponse(Rcode.NXDOMAIN)),
        ("1.0.0.127.in-addr.arpa", 12, Answer(pointers=("localhost",))),
        ("2.0.0.127.in-addr.arpa", 12, EmptyResponse(Rcode.NXDOMAIN)),
        ("127.in-addr.arpa", 2, Answer()),
        ("0.0.0.0.in-addr.arpa", 12, EmptyResponse(Rcode.NXDOMAIN)),
        ("1." + "0." * 31 + "ip6.arpa", 12, Answer(pointers=("localhost",))),
        ("1.0.0.10.in-addr.arpa", 12, Forward()),
        ("localhost.test", 1, Forward()),
        ("notlocalhost.test", 1, Forward()),
    ],
)
def test_names_that_mean_the_same_everywhere_are_answered_here(name, kind, expected):
    records = {"n": NetworkRecords("net", {"localhost": ("10.0.0.9",), "x.localhost": ("10.0.0.9",)})}
    assert decide(Question(name.removesuffix("."), kind), View(("n",)), records) == expected


@pytest.mark.parametrize("kind", ["ANY", "A", "TXT"])
def test_an_answer_over_udp_is_bounded(on_host, kind):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), forward=False))
        for options, most in (({}, 512), ({"use_edns": 0, "payload": 65535}, 1232)):
            assert len(asker.ask("many", kind, **options).to_wire()) <= most

    on_host(scenario)


def test_odd_packets_cost_others_nothing(on_host):
    """Several questions, compression pointers in the question, wrong lengths."""

    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        loop = question(b"\3web\xc0\x0c")
        with upstream(asker.ns, "127.0.0.1", says("198.51.100.1")) as server:
            for packet in (question(b"\3web\0", count=60), loop, question(b"\xc0\x0c"), question(b"\x40" + b"a" * 64)):
                with asker.udp() as sock:
                    sock.send(packet)
                    reply = DNSRecord.parse(sock.recv(512))
                    assert reply.header.rcode == dns.rcode.FORMERR and len(packet) >= len(reply.pack())
            with asker.tcp() as liar:
                wire = dns.message.make_query("web", "A").to_wire()
                liar.sendall(b"\xff\xff" + wire)
                assert asker.addresses("db", tcp=True) == ["10.1.0.3"]
                liar.sendall(bytes(65535 - len(wire)) + len(wire).to_bytes(2) + wire)
                assert dns.message.from_wire(read_frame(liar)[:12]).rcode() == dns.rcode.FORMERR
            assert not server.asked

    on_host(scenario)
