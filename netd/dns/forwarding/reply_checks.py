"""Checks of an upstream response: it matches the query, is complete, and is an answer.  Pure."""

from __future__ import annotations

from netd.dns.messages.decide import Rcode
from netd.dns.messages.message import HEADER, question_end
from netd.dns.messages.rr_scan import all_records

_AUTHORITATIVE = 0x04
_TRUNCATED = 0x02
_RECURSIVE = 0x80
_FAILURES = (Rcode.FORMERR, Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED)


def code(reply: bytes) -> int:
    return reply[3] & 15


def has_question(reply: bytes) -> bool:
    return reply[4:6] != bytes(2)


def is_reply(query: bytes, reply: bytes) -> bool:
    """Return True if *reply* has the id and, ignoring case, the question of *query*.

    A response with an error code may lack the question; its content is never used.
    """
    if len(reply) < HEADER or reply[:2] != query[:2] or not reply[2] & 0x80:
        return False
    if not has_question(reply):
        return code(reply) in _FAILURES
    end = question_end(query)
    question, echoed = query[HEADER:end], reply[HEADER:end]
    return reply[4:6] == b"\0\1" and echoed[-4:] == question[-4:] and echoed[:-4].lower() == question[:-4].lower()


def has_case_of(query: bytes, reply: bytes) -> bool:
    """Return True if a response repeats the question in the same case, or has no question."""
    end = question_end(query)
    return not has_question(reply) or reply[HEADER:end] == query[HEADER:end]


def is_failure(reply: bytes) -> bool:
    """Return True if another server may have an answer: an error code, or the response of a lame server.

    A lame server (RFC 1912) responds with NOERROR, without records, and with neither AA nor RA.
    """
    if code(reply) in _FAILURES:
        return True
    is_empty = code(reply) == Rcode.NOERROR and reply[6:8] == bytes(2) and not reply[2] & _TRUNCATED
    return is_empty and not reply[2] & _AUTHORITATIVE and not reply[3] & _RECURSIVE


def is_positive(reply: bytes) -> bool:
    """Return True if *reply* has answer records."""
    return code(reply) == Rcode.NOERROR and reply[6:8] != bytes(2)


def is_whole(reply: bytes) -> bool:
    """Return True if all records of the header's counts are present, or TC is set."""
    return is_partial(reply) or all_records(reply, question_end(reply)) is not None


def is_partial(reply: bytes) -> bool:
    """Return True if records may be missing: TC is set, or there is no question."""
    return bool(reply[2] & _TRUNCATED) or not has_question(reply)
