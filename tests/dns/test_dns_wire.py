"""Encoding and decoding of messages, compared with dnspython."""

from __future__ import annotations

from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netd.dns.forwarding.reply_checks import is_reply
from netd.dns.messages.decide import Answer, EmptyResponse, Question, Rcode, decide
from netd.dns.messages.message import (
    DnsMessage,
    RoundRobin,
    build_response,
    error_response,
    header_response,
    parse_query,
    plain_question,
    question_end,
)
from netd.dns.messages.plain_response import plain_response
from netd.dns.records import NetworkRecords, View

labels = st.binary(min_size=1, max_size=63)
names = st.lists(st.text("abcXYZ019-_", min_size=1, max_size=20), min_size=1, max_size=6).map(".".join)
kinds = st.sampled_from(["A", "AAAA", "MX", "PTR", "HTTPS", "ANY"])
v4 = st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=90, unique=True).map(tuple)
v6 = st.lists(st.ip_addresses(v=6).map(str), min_size=1, max_size=60, unique=True).map(tuple)


@st.composite
def queries(draw):
    edns = draw(st.sampled_from([None, 0]))
    return dns.message.make_query(
        draw(names), draw(kinds), use_edns=edns, payload=draw(st.integers(0, 65535)) if edns is not None else None
    )


def whole(query, reply: bytes | RoundRobin) -> dns.message.Message:
    body = reply.next() if isinstance(reply, RoundRobin) else reply
    return dns.message.from_wire(query.to_wire()[:2] + body)


def understood(query) -> DnsMessage:
    message = parse_query(query.to_wire())
    assert isinstance(message, DnsMessage)
    return message


@given(queries(), v4 | v6 | st.just(()), st.booleans())
def test_replies_are_what_was_asked_and_fit(query, addresses, stream):
    message = understood(query)
    reply = whole(query, build_response(message, Answer(addresses), stream))
    assert query.is_response(reply)
    assert reply.flags & ~dns.flags.TC == dns.flags.QR | dns.flags.RD | dns.flags.RA
    size = 65535 if stream else 512 if query.edns < 0 else max(512, min(query.payload, 1232))
    assert len(reply.to_wire(max_size=65535)) <= size
    given_back = [item.to_text() for rrset in reply.answer for item in rrset]
    assert set(map(ip_address, given_back)) <= set(map(ip_address, addresses))
    assert bool(reply.flags & dns.flags.TC) == (len(given_back) < len(addresses))
    assert all(rrset.ttl == 5 for rrset in reply.answer)
    assert (reply.edns == 0) == (query.edns == 0)


@given(queries(), v4)
def test_every_address_is_first_equally_often(query, addresses):
    ready = build_response(understood(query), Answer(addresses), True)
    firsts = [next(iter(whole(query, ready).answer[0])).to_text() for _ in addresses]
    assert sorted(firsts) == sorted(addresses)


@given(queries(), st.sampled_from([Rcode.NXDOMAIN, Rcode.SERVFAIL, Rcode.REFUSED]))
def test_refusals_repeat_the_question(query, code):
    for body in (build_response(understood(query), EmptyResponse(code), False), error_response(query.to_wire(), code)):
        reply = whole(query, body)
        assert query.is_response(reply) and reply.question == query.question and reply.rcode() == code


@given(queries())
def test_questions_are_read_as_dnspython_writes_them(query):
    message = understood(query)
    asked = query.question[0]
    assert message.question == Question(asked.name.to_text(omit_final_dot=True).lower(), int(asked.rdtype))
    wire = query.to_wire()
    assert wire[12 : question_end(wire)] == asked.name.to_wire() + wire[question_end(wire) - 4 : question_end(wire)]


@given(st.binary(max_size=80) | queries().map(lambda query: query.to_wire()), st.data())
@example(b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", None)
@example(b"\0\1\1\0\0\1\0\0\0\0\0\1\1a\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0\xff\xff", None)
def test_no_bytes_raise_and_none_but_queries_are_answered(packet, data):
    if data is not None:
        spoiled = bytearray(packet)
        for at in data.draw(st.lists(st.integers(0, max(0, len(spoiled) - 1)), max_size=5)) if spoiled else ():
            spoiled[at] = data.draw(st.integers(0, 255))
        packet = bytes(spoiled)
    message = parse_query(packet)
    if len(packet) < 12 or packet[2] & 0x80:
        assert message is None
    elif isinstance(message, Rcode):
        assert (
            dns.message.from_wire(packet[:2] + header_response(packet, message), ignore_trailing=True).rcode()
            == message
        )
    else:
        body = build_response(message, Answer(("10.0.0.1", "10.0.0.2")), False)
        assert (body.next() if isinstance(body, RoundRobin) else body)[:1]


@given(queries(), st.binary(max_size=3), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3))
def test_the_short_way_to_a_question_leads_to_the_same_question(query, rest, changes):
    packet = bytearray(query.to_wire())
    found = plain_question(bytes(packet))
    assert found == understood(query).question
    for at, octet in changes:
        packet[at % len(packet)] = octet
    for spoiled in (bytes(packet), bytes(packet) + rest, bytes(packet)[: -len(rest) or None], packet[: 12 + len(rest)]):
        found, message = plain_question(bytes(spoiled)), parse_query(bytes(spoiled))
        if found is not None:
            assert isinstance(message, DnsMessage) and message.question == found
            assert message.edns is None or not (message.edns.rdata or message.edns.edns_ver)


@pytest.mark.parametrize("counts", ["0000000000000000", "0002000000000000", "0001000100000000", "0001000000010000"])
def test_other_than_one_question_is_malformed(counts):
    wire = dns.message.make_query("web", "A").to_wire()
    assert parse_query(wire[:4] + bytes.fromhex(counts) + wire[12:]) == Rcode.FORMERR


def test_a_name_longer_than_any_may_be_is_malformed():
    head, tail = bytes.fromhex("000101000001000000000000"), bytes.fromhex("0000010001")
    assert isinstance(parse_query(head + (b"\x3e" + b"a" * 62) * 4 + tail), DnsMessage)
    assert parse_query(head + (b"\x3f" + b"a" * 63) * 4 + tail) == Rcode.FORMERR


def test_a_dot_inside_a_label_is_no_separator():
    wire = bytes.fromhex("00010100000100000000000007") + b"web.net" + bytes.fromhex("0000010001")
    message = parse_query(wire)
    assert isinstance(message, DnsMessage) and message.question.name == "web\\.net"


def test_other_classes_hold_nothing():
    query = dns.message.make_query("web", "A", rdclass="CH")
    assert understood(query).question == Question("web", 0)


def test_pointers_that_dns_cannot_carry_are_left_out():
    query = dns.message.make_query("2.0.0.10.in-addr.arpa", "PTR")
    reply = whole(
        query, build_response(understood(query), Answer(pointers=("x" * 64 + ".net", "web.my net", "a..b")), False)
    )
    assert [item.to_text() for rrset in reply.answer for item in rrset] == ["web.my\\032net."]


@given(queries())
def test_a_reply_is_told_from_what_only_looks_like_one(query):
    asked = query.to_wire()
    reply = dns.message.make_response(query).to_wire()
    assert is_reply(asked, reply)
    assert not is_reply(asked, asked)
    assert not is_reply(asked, bytes([reply[0] ^ 1]) + reply[1:])
    other = bytearray(reply)
    other[13] ^= 0x01
    assert not is_reply(asked, bytes(other))
    bare = reply[:3] + bytes([reply[3] | Rcode.REFUSED]) + bytes(8)
    assert is_reply(asked, bare), "an error reply may lack the question"
    assert not is_reply(asked, reply[:4] + bytes(8)), "an answer must contain it"


names_asked = st.sampled_from(["web", "Web.Front-End", "many", "six", "db", "nobody.invalid", "host.docker.internal"])


@given(names_asked, st.sampled_from(["A", "AAAA", "TXT", "ANY"]), st.sampled_from([None, 0, 512, 700, 4096]), st.data())
def test_a_plain_response_is_that_of_the_complete_way(name, kind, payload, data):
    """With all flags, payload sizes, and over both protocols."""
    options = {} if payload is None else {"use_edns": 0, "payload": payload, "want_dnssec": data.draw(st.booleans())}
    flags = data.draw(st.sampled_from([0, dns.flags.RD, dns.flags.RD | dns.flags.CD, dns.flags.AD | dns.flags.RD]))
    packet = dns.message.make_query(name, kind, **options, flags=flags).to_wire()
    stream = data.draw(st.booleans())
    view = View(("n1",), gateways=("10.1.0.1",), forward=False)
    records = NetworkRecords(
        "front-end",
        {
            "web": ("10.1.0.2",),
            "db": ("10.1.0.3", "fd00::3"),
            "many": tuple(f"10.1.1.{n}" for n in range(60)),
            "six": tuple(f"fd00::{n}" for n in range(1, 80)),
        },
    )
    question = plain_question(packet)
    decision = decide(question, view, {"n1": records})
    plain = plain_response(packet, decision, stream)
    complete = build_response(parse_query(packet), decision, stream)
    if plain is None:
        assert kind == "ANY" and name == "db"
    elif isinstance(plain, RoundRobin):
        assert {plain.next() for _ in range(80)} == {complete.next() for _ in range(80)}
    else:
        assert plain == complete
