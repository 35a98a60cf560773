"""What a resolver's reply is worth: whether it belongs to the query, is whole, and answers it.  Pure."""

from __future__ import annotations

from netd.dns.messages.decide import Code
from netd.dns.messages.message import HEADER, question_end
from netd.dns.messages.rr_scan import records

_AUTHORITATIVE = 0x04
_TRUNCATED = 0x02
_RECURSIVE = 0x80
_FAILURES = (Code.FORMERR, Code.SERVFAIL, Code.NOTIMP, Code.REFUSED)


def code(reply: bytes) -> int:
    return reply[3] & 15


def has_question(reply: bytes) -> bool:
    return reply[4:6] != bytes(2)


def is_reply(query: bytes, reply: bytes) -> bool:
    """Whether *reply* answers *query*: the same id and, but for the case of its letters, the same question.

    A reply that says that the server failed may lack the question; it never says anything about the name.
    """
    if len(reply) < HEADER or reply[:2] != query[:2] or not reply[2] & 0x80:
        return False
    if not has_question(reply):
        return code(reply) in _FAILURES
    end = question_end(query)
    asked, echoed = query[HEADER:end], reply[HEADER:end]
    return reply[4:6] == b"\0\1" and echoed[-4:] == asked[-4:] and echoed[:-4].lower() == asked[:-4].lower()


def has_case_of(query: bytes, reply: bytes) -> bool:
    """Whether a reply repeats the question letter by letter; one without a question cannot contradict it."""
    end = question_end(query)
    return not has_question(reply) or reply[HEADER:end] == query[HEADER:end]


def is_failure(reply: bytes) -> bool:
    """Whether another server may know better: it refuses, cannot, or knows nothing and asks nobody else.

    The latter, a lame server, answers without error, records, authority and recursion (RFC 1912).
    """
    if code(reply) in _FAILURES:
        return True
    says_nothing = code(reply) == Code.NOERROR and reply[6:8] == bytes(2) and not reply[2] & _TRUNCATED
    return says_nothing and not reply[2] & _AUTHORITATIVE and not reply[3] & _RECURSIVE


def is_positive(reply: bytes) -> bool:
    """Whether it gives records."""
    return code(reply) == Code.NOERROR and reply[6:8] != bytes(2)


def is_whole(reply: bytes) -> bool:
    """Whether all records that the header counts are there, unless the reply says itself that it was cut."""
    if reply[2] & _TRUNCATED or not has_question(reply):
        return True
    count = sum(int.from_bytes(reply[at : at + 2]) for at in (6, 8, 10))
    return sum(1 for _ in records(reply, question_end(reply), count)) == count
