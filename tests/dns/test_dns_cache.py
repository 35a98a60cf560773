"""Caching of upstream replies: which, and for how long."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.dns.forwarding.cache import MAX_TTL, Cache, is_cacheable_query, lifetime

SOA = "ns.test. admin.test. 1 7200 900 1209600"


def query(name: str = "a.test", **options: object) -> dns.message.Message:
    return dns.message.make_query(name, "A", **options)


def answer(asked: dns.message.Message, *ttls: int, negative: tuple[int, int] | None = None) -> dns.message.Message:
    """Return a reply with an address for each TTL, and with an SOA of *negative* TTL and minimum."""
    reply = dns.message.make_response(asked)
    name = asked.question[0].name
    for n, ttl in enumerate(ttls):
        owner = name if n == 0 else f"n{n}.test."
        reply.answer.append(dns.rrset.from_text(owner, ttl, "IN", "A", f"192.0.2.{n}"))
    if negative is not None:
        ttl, minimum = negative
        reply.authority.append(dns.rrset.from_text("test.", ttl, "IN", "SOA", f"{SOA} {minimum}"))
    return reply


def body(message: dns.message.Message) -> bytes:
    """Return the packet without its id."""
    return message.to_wire()[2:]


def kept(cache: Cache, asked: dns.message.Message, now: float) -> dns.message.Message | None:
    found = cache.get(body(asked), now)
    return None if found is None else dns.message.from_wire(asked.to_wire()[:2] + found)


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=8), st.floats(0, 200_000))
def test_an_answer_holds_for_its_shortest_ttl_and_ages(ttls, later):
    asked, cache = query(use_edns=0), Cache()
    cache.put(body(asked), body(asked), body(answer(asked, *ttls)), 1000.0)
    found = kept(cache, asked, 1000.0 + later)
    if later >= min(*ttls, MAX_TTL):
        assert found is None and len(cache) == 0, "the entry is evicted"
    else:
        assert [rrset.ttl for rrset in found.answer] == [ttl - int(later) for ttl in ttls]
        assert found.edns == 0 and found.payload == answer(asked).payload, "the TTL field of OPT is no TTL"
        assert asked.is_response(found)


@given(st.integers(0, 9999), st.integers(0, 9999), st.booleans())
def test_a_denial_holds_for_its_soas_ttl_or_minimum(ttl, minimum, name_error):
    reply = answer(query(), negative=(ttl, minimum))
    reply.set_rcode(dns.rcode.NXDOMAIN if name_error else dns.rcode.NOERROR)
    found = lifetime(body(reply))
    assert (found[0] if found else 0) == min(ttl, minimum)


def test_an_alias_that_leads_nowhere_is_a_denial():
    reply = answer(query(), 300, negative=(60, 30))
    assert lifetime(body(reply))[0] == 30


@pytest.mark.parametrize(
    "spoil",
    [
        lambda reply: reply.set_rcode(dns.rcode.SERVFAIL),
        lambda reply: reply.set_rcode(dns.rcode.REFUSED),
        lambda reply: setattr(reply, "flags", reply.flags | dns.flags.TC),
        lambda reply: reply.answer.clear(),
        lambda reply: reply.set_rcode(dns.rcode.NXDOMAIN),
        lambda reply: setattr(reply.answer[0], "ttl", 0),
        lambda reply: setattr(reply.answer[0], "ttl", 1 << 31),
        lambda reply: reply.question.clear(),
    ],
)
def test_what_is_no_answer_is_not_kept(spoil):
    reply = answer(query(), 300)
    spoil(reply)
    assert lifetime(body(reply)) is None


@given(st.data())
def test_no_bytes_from_elsewhere_raise(data):
    reply = bytearray(body(answer(query(use_edns=0), 300, 20, negative=(9, 9))))
    for at in data.draw(st.lists(st.integers(0, len(reply) - 1), max_size=6)):
        reply[at] = data.draw(st.integers(0, 255))
    spoiled = bytes(reply[: data.draw(st.integers(0, len(reply)))])
    cache = Cache()
    cache.put("key", body(query()), spoiled, 0.0)
    for now in (0.0, 1.5, 1e9):
        found = cache.get("key", now)
        assert found is None or len(found) == len(spoiled)


def test_queries_that_are_new_each_time_are_not_kept():
    assert is_cacheable_query(body(query())) and is_cacheable_query(body(query(use_edns=0, want_dnssec=True)))
    cookie = dns.edns.GenericOption(10, b"12345678")
    assert not is_cacheable_query(body(query(use_edns=0, options=[cookie])))
    cache = Cache()
    asked = query(use_edns=0, options=[cookie])
    cache.put("key", body(asked), body(answer(asked, 300)), 0.0)
    assert len(cache) == 0


def test_it_stays_within_its_bounds_and_the_first_goes_first():
    asked = query()
    for cache in (Cache(max_entries=3), Cache(max_bytes=3 * (len(body(asked)) + len(body(answer(asked, 300)))))):
        for key in (*range(10), 9, 9):
            cache.put(key, body(asked), body(answer(asked, 300)), 0.0)
        assert [key for key in range(10) if cache.get(key, 1.0)] == [7, 8, 9]
    cache.put(10, body(asked), body(answer(asked, *[300] * 200)), 0.0)
    assert len(cache) == 0, "a reply larger than the cache"


@pytest.mark.parametrize("large", [False, True])
def test_a_container_that_asks_for_ever_new_names_pushes_out_its_own_answers_only(large):
    """With few large replies, and with many small ones."""
    cache, asked = Cache(max_entries=100, max_bytes=60_000), query()
    small = body(answer(asked, 300))
    for n in range(20):
        cache.put(("quiet", n), body(asked), small, 0.0, "quiet")
    for n in range(500):
        reply = body(answer(asked, *[300] * 250)) if large else small
        cache.put(("greedy", n), body(asked), reply, 0.0, "greedy")
    assert all(cache.get(("quiet", n), 1.0) for n in range(20))
    assert cache.get(("greedy", 499), 1.0) and not cache.get(("greedy", 0), 1.0)
    assert len(cache) <= 100
