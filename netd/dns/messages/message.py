"""Parsing queries and building responses, with dnslib.

Responses are kept without their first two bytes, the id, so that one serves all queries with the same question.
The input of dnslib is limited: it follows compression pointers without a limit, and a packet full of records whose
names are chains of pointers would occupy it for seconds.  So dnslib parses only the header and the OPT record of
a query; the question, which holds no pointers, is parsed here.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dnslib import (
    AAAA,
    EDNS0,
    PTR,
    QTYPE,
    RD,
    RR,
    SRV,
    A,
    DNSBuffer,
    DNSError,
    DNSHeader,
    DNSLabel,
    DNSQuestion,
    DNSRecord,
)
from dnslib.buffer import BufferError as DNSBufferError

from netd.dns.messages.decide import Answer, EmptyResponse, Question, Rcode
from netd.dns.messages.name_lookup import ServicePort
from netd.dns.messages.rr_scan import RecordType, records
from netd.dns.records import lower

TTL = 5
"""Seconds; short, because addresses move between containers."""
UDP_SIZE = 1232
"""Bytes: the advertised EDNS size and the largest UDP response; fits every link without fragmentation."""
PLAIN_SIZE = 512
"""Bytes of a UDP response without EDNS (RFC 1035)."""
STREAM_SIZE = 65535
"""Bytes of a response over TCP."""
HEADER = 12
"""Bytes of the header."""
_QUERY = 0
_ONE_QUESTION = bytes((0, 1, 0, 0, 0, 0))
"""QDCOUNT 1, ANCOUNT 0, NSCOUNT 0."""
_QUESTION_ONLY = bytes((0, 1, 0, 0, 0, 0, 0, 0))
_QUESTION_AND_OPT = bytes((0, 1, 0, 0, 0, 0, 0, 1))
_QUERY_BITS = 0xF8
"""QR and OPCODE in the third byte of the header."""
PLAIN_OPT = 11
"""Bytes of an OPT record without options."""
_MAX_NAME_END = HEADER + 255
_MAX_QUERY_SIZE = 4096
_OPT = bytes((0, 0, 41))
"""The first bytes of an OPT record: the root name and the type."""
_TRUNCATED = 0x02
"""TC in the third byte of the header."""
_CLASSES = (1, 255)
"""IN and ANY; in other classes the names exist without records."""
_BAD_VERSION = 1
"""The upper bits of response code 16, BADVERS."""


@dataclass(frozen=True, slots=True)
class DnsMessage:
    """A parsed query."""

    record: DNSRecord
    question: Question
    edns: RR | None

    def max_size(self, stream: bool) -> int:
        """Return the largest size of the response in bytes."""
        if stream:
            return STREAM_SIZE
        return max(PLAIN_SIZE, min(self.edns.edns_len, UDP_SIZE)) if self.edns else PLAIN_SIZE


class RoundRobin:
    """A response with several records of equal size; each ``next`` starts with the next record.

    Most clients connect to the first address, so every address is first equally often.
    """

    __slots__ = ("_at", "_count", "_head", "_ring", "_shown", "_tail", "_unit")

    def __init__(self, head: bytes, records: bytes, unit: int, shown: int, tail: bytes) -> None:
        self._head = head
        self._ring = records * 2
        self._unit = unit
        self._shown = shown * unit
        self._tail = tail
        self._count = len(records) // unit
        self._at = random.randrange(self._count)

    def next(self) -> bytes:
        start = self._at * self._unit
        self._at = (self._at + 1) % self._count
        return self._head + self._ring[start : start + self._shown] + self._tail


def is_query(packet: bytes) -> bool:
    """Return True for a query; a response must not be answered, or two servers would answer each other without end."""
    return len(packet) >= HEADER and not packet[2] & 0x80


def parse_query(packet: bytes) -> DnsMessage | Rcode | None:
    """Return the query in *packet*, the code of the error response, or None for a packet that must not be answered."""
    if not is_query(packet):
        return None
    if (packet[2] >> 3) & 15 != _QUERY:
        return Rcode.NOTIMP
    end = question_end(packet)
    if packet[4:10] != _ONE_QUESTION or not end <= len(packet) <= _MAX_QUERY_SIZE or _has_two_opts(packet, end):
        return Rcode.FORMERR
    buffer = DNSBuffer(packet)
    try:
        header, parsed = DNSHeader.parse(buffer), _parse_question(packet, end)
        edns = _edns(packet, end, header.ar)
        return DnsMessage(DNSRecord(header, q=parsed), _question(parsed), edns)
    except (DNSError, DNSBufferError, struct.error):
        return Rcode.FORMERR


def plain_question(packet: bytes) -> Question | None:
    """Return the question of a query with no other records, or with an OPT record without options; else None.

    Most queries are of this form.  The result is that of ``parse_query``, without the parts for a response.
    """
    counts = packet[4:12]
    if (counts != _QUESTION_ONLY and counts != _QUESTION_AND_OPT) or packet[2] & _QUERY_BITS or len(packet) == HEADER:
        return None
    labels, at, size = [], HEADER, len(packet)
    while (length := packet[at]) and length < 64:
        end = at + 1 + length
        labels.append(packet[at + 1 : end])
        at = end
        if at >= size:
            return None
    end = at + 5
    if length or at >= _MAX_NAME_END or size != (end if counts == _QUESTION_ONLY else end + PLAIN_OPT):
        return None
    if size != end and (packet[end : end + 3] != _OPT or packet[end + 6] or packet[end + 9 : size] != b"\0\0"):
        return None
    name = b".".join(labels)
    if not name.isascii() or name.count(b".") >= len(labels) > 0:
        return None
    kind, in_class = struct.unpack_from("!HH", packet, at + 1)
    return Question(name.decode().lower(), kind if in_class in _CLASSES else 0)


def _parse_question(packet: bytes, end: int) -> DNSQuestion:
    """Return the question that ends at *end*.  Labels may hold any octets; dnslib's own parser accepts text only."""
    labels, at = [], HEADER
    while size := packet[at]:
        labels.append(packet[at + 1 : at + 1 + size])
        at += size + 1
    return DNSQuestion(DNSLabel(labels), *struct.unpack_from("!HH", packet, end - 4))


def _edns(packet: bytes, end: int, count: int) -> RR | None:
    """Return the OPT record, at any position of the additional section (RFC 6891)."""
    at = end
    for position in records(packet, end, count):
        if packet[at : at + 3] == _OPT:
            buffer = DNSBuffer(packet)
            buffer.offset = at
            return RR.parse(buffer)
        at = position.end
    return None


def _has_two_opts(packet: bytes, end: int) -> bool:
    """Return True for more than one OPT record, which RFC 6891 forbids."""
    count = int.from_bytes(packet[10:12])
    return count > 1 and sum(record.type == RecordType.OPT for record in records(packet, end, count)) > 1


def _question(parsed: DNSQuestion) -> Question:
    labels = [label.decode(errors="surrogateescape").replace(".", "\\.") for label in parsed.qname.label]
    return Question(lower(".".join(labels)), parsed.qtype if parsed.qclass in _CLASSES else 0)


def question_end(packet: bytes) -> int:
    """Return the offset after the question of a query; an offset beyond the packet if the question is malformed.

    A question never holds a compression pointer: no name precedes it.
    """
    at = HEADER
    while at < len(packet) and 0 < packet[at] < 64:
        at += packet[at] + 1
    whole = at < len(packet) and packet[at] == 0 and at - HEADER < 255
    return at + 5 if whole else len(packet) + 1


def header_response(packet: bytes, code: Rcode) -> bytes:
    """Return an error response, without id, to a packet of which only the header is valid."""
    header = DNSHeader(bitmap=0, qr=1, opcode=(packet[2] >> 3) & 15, rd=packet[2] & 1, ra=1, rcode=code)
    return bytes(DNSRecord(header).pack()[2:])


def error_response(packet: bytes, code: Rcode) -> bytes:
    """Return an error response, without id, with the query's question: C libraries ignore a response without it."""
    message = parse_query(packet)
    if not isinstance(message, DnsMessage):
        return header_response(packet, code)
    return _pack(message, (), code)


def build_response(message: DnsMessage, decision: Answer | EmptyResponse, stream: bool) -> bytes | RoundRobin:
    """Return the response, without id, truncated to the size that the client accepts."""
    edns = message.edns
    if edns is not None and edns.edns_ver != 0:
        return _pack(message, (), Rcode.NOERROR, _BAD_VERSION)
    if isinstance(decision, EmptyResponse):
        return _pack(message, (), decision.code)
    max_size = message.max_size(stream) - 2
    if decision.services:
        return _srv_response(message, decision.services, max_size)
    answers = [*map(_address, decision.addresses), *_pointers(decision.pointers)]
    whole = _pack(message, answers, Rcode.NOERROR)
    if len(answers) > 1 and {type(rdata) for rdata in answers} in ({A}, {AAAA}):
        return _round_robin(message, whole, answers, max_size)
    return whole if len(whole) <= max_size else truncated(_pack(message, (), Rcode.NOERROR), 0)


def _srv_response(message: DnsMessage, services: Sequence[ServicePort], max_size: int) -> bytes:
    """Return SRV records, with the addresses of their targets in the additional section if they fit."""
    labelled = [(service, label) for service in services for label in _labels((service.target,))]
    answers = [SRV(0, 0, service.port, label) for service, label in labelled]
    targets = {(label, address) for service, label in labelled for address in service.addresses}
    additional = [(label, _address(address)) for label, address in sorted(targets, key=str)]
    whole = _pack(message, answers, Rcode.NOERROR, additional=additional)
    if len(whole) > max_size:
        whole = _pack(message, answers, Rcode.NOERROR)
    return whole if len(whole) <= max_size else truncated(_pack(message, (), Rcode.NOERROR), 0)


def _round_robin(message: DnsMessage, whole: bytes, answers: Sequence[RD], max_size: int) -> RoundRobin:
    """Split the response *whole* into head, records and tail.

    A record is its name as a pointer to the question (two bytes), ten bytes of fixed fields, and the address.
    """
    unit = 12 + len(answers[0].data)
    start = HEADER - 2 + len(message.record.q.qname) + 2 + 4
    stop = start + len(answers) * unit
    shown = min(len(answers), (max_size - start - len(whole) + stop) // unit)
    head = whole[:start] if shown == len(answers) else truncated(whole[:start], shown)
    return RoundRobin(head, whole[start:stop], unit, shown, whole[stop:])


def truncated(response: bytes, shown: int) -> bytes:
    """Return *response* with TC set, on which the client retries over TCP, and ANCOUNT *shown*."""
    return bytes([response[0] | _TRUNCATED]) + response[1:4] + shown.to_bytes(2) + response[6:]


def _address(text: str) -> RD:
    if ":" in text:
        return AAAA(tuple(socket.inet_pton(socket.AF_INET6, text)))
    return A(tuple(socket.inet_pton(socket.AF_INET, text)))


def _pointers(names: Iterable[str]) -> list[RD]:
    """Return PTR records; names that DNS cannot represent are left out."""
    return [PTR(label) for label in _labels(names)]


def _labels(names: Iterable[str]) -> list[DNSLabel]:
    """Return the names that DNS can represent: at most 63 bytes a label, 255 with all length bytes (RFC 1035)."""
    split = [[label.encode(errors="surrogateescape") for label in name.split(".")] for name in names]
    return [DNSLabel(labels) for labels in split if _is_representable(labels)]


def _is_representable(labels: Sequence[bytes]) -> bool:
    return all(0 < len(label) < 64 for label in labels) and sum(len(label) + 1 for label in labels) < 255


def _pack(
    message: DnsMessage,
    answers: Iterable[RD],
    code: Rcode,
    extended: int = 0,
    additional: Iterable[tuple[DNSLabel, RD]] = (),
) -> bytes:
    query = message.record.header
    header = DNSHeader(bitmap=0, qr=1, rd=query.rd, ra=1, cd=query.cd, rcode=code)
    response = DNSRecord(header, q=message.record.q)
    for rdata in answers:
        response.add_answer(RR(message.record.q.qname, _kind(rdata), ttl=TTL, rdata=rdata))
    for name, rdata in additional:
        response.add_ar(RR(name, _kind(rdata), ttl=TTL, rdata=rdata))
    if message.edns is not None:
        flags = "do" if message.edns.edns_do else ""
        response.add_ar(EDNS0(flags=flags, udp_len=UDP_SIZE, ext_rcode=extended))
    return bytes(response.pack()[2:])


def _kind(rdata: RD) -> int:
    return int(QTYPE.reverse[type(rdata).__name__])
