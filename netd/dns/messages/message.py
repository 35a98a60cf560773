"""DNS messages: questions read from bytes and replies written to bytes, by dnslib.

Replies are kept without their first two bytes, the id, so that one serves whoever asks the same question.
What dnslib is given is bounded first: it follows compression pointers without a limit of its own, and a packet
full of records whose names are chains of pointers would keep it busy for seconds.  So of a query it reads the
question, which holds no pointers, and the OPT record.
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

from netd.dns.messages.decide import Code, Question, Refuse, Reply
from netd.dns.messages.name_lookup import ServicePort
from netd.dns.messages.rr_scan import RecordType, records
from netd.dns.records import lower

TTL = 5
"""Seconds; short, so that nobody keeps an address that has moved."""
UDP_SIZE = 1232
"""What we offer and send at most over UDP, and what cannot be fragmented on any link."""
PLAIN_SIZE = 512
STREAM_SIZE = 65535
HEADER = 12
_QUERY = 0
_ONE_QUESTION = bytes((0, 1, 0, 0, 0, 0))
"""And no answers, and no authorities."""
_LARGEST_QUERY = 4096
_OPT = bytes((0, 0, 41))
"""How an OPT record begins: at the root, with its type."""
_TRUNCATED = 0x02
_CLASSES = (1, 255)
"""IN and ANY; in other classes our names exist and have nothing."""
_BAD_VERSION = 1
"""The upper bits of response code 16, BADVERS."""


@dataclass(frozen=True, slots=True)
class DnsMessage:
    """A query that could be read."""

    record: DNSRecord
    question: Question
    edns: RR | None

    def room(self, stream: bool) -> int:
        """Return how many bytes a reply may have."""
        if stream:
            return STREAM_SIZE
        return max(PLAIN_SIZE, min(self.edns.edns_len, UDP_SIZE)) if self.edns else PLAIN_SIZE


class RoundRobin:
    """A reply with several records of one size, begun one further on each time it is given.

    The first address gets the connection of most clients, so every address is to be first equally often.
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
    """Whether *packet* is to be answered; anything else could be a reply, and answers to those go on for ever."""
    return len(packet) >= HEADER and not packet[2] & 0x80


def read(packet: bytes) -> DnsMessage | Code | None:
    """Return the query in *packet*, the code to refuse it with, or None for what must not be answered at all."""
    if not is_query(packet):
        return None
    if (packet[2] >> 3) & 15 != _QUERY:
        return Code.NOTIMP
    end = question_end(packet)
    if packet[4:10] != _ONE_QUESTION or not end <= len(packet) <= _LARGEST_QUERY or _has_two_opts(packet, end):
        return Code.FORMERR
    buffer = DNSBuffer(packet)
    try:
        header, asked = DNSHeader.parse(buffer), _asked(packet, end)
        edns = _edns(packet, end, header.ar)
        return DnsMessage(DNSRecord(header, q=asked), _question(asked), edns)
    except (DNSError, DNSBufferError, struct.error):
        return Code.FORMERR


def _asked(packet: bytes, end: int) -> DNSQuestion:
    """Return the question that ends at *end*; its labels are any octets, where dnslib takes text only."""
    labels, at = [], HEADER
    while size := packet[at]:
        labels.append(packet[at + 1 : at + 1 + size])
        at += size + 1
    return DNSQuestion(DNSLabel(labels), *struct.unpack_from("!HH", packet, end - 4))


def _edns(packet: bytes, end: int, count: int) -> RR | None:
    """Return the OPT record, wherever it is among the additional records (RFC 6891)."""
    at = end
    for place in records(packet, end, count):
        if packet[at : at + 3] == _OPT:
            buffer = DNSBuffer(packet)
            buffer.offset = at
            return RR.parse(buffer)
        at = place.end
    return None


def _has_two_opts(packet: bytes, end: int) -> bool:
    """Whether there is more than one OPT record, which RFC 6891 forbids."""
    count = int.from_bytes(packet[10:12])
    return count > 1 and sum(one.type == RecordType.OPT for one in records(packet, end, count)) > 1


def _question(asked: DNSQuestion) -> Question:
    labels = [label.decode(errors="surrogateescape").replace(".", "\\.") for label in asked.qname.label]
    return Question(lower(".".join(labels)), asked.qtype if asked.qclass in _CLASSES else 0)


def question_end(packet: bytes) -> int:
    """Return where a query's question ends, beyond the packet when it does not end well.

    It never holds a pointer: there is nothing before it to point to.
    """
    at = HEADER
    while at < len(packet) and 0 < packet[at] < 64:
        at += packet[at] + 1
    whole = at < len(packet) and packet[at] == 0 and at - HEADER < 255
    return at + 5 if whole else len(packet) + 1


def complaint(packet: bytes, code: Code) -> bytes:
    """Return the reply, without id, to a packet of which no more than the header can be trusted."""
    header = DNSHeader(bitmap=0, qr=1, opcode=(packet[2] >> 3) & 15, rd=packet[2] & 1, ra=1, rcode=code)
    return bytes(DNSRecord(header).pack()[2:])


def refuse(packet: bytes, code: Code) -> bytes:
    """Return the refusal, without id, of a query; it repeats the question, without which C libraries ignore it."""
    message = read(packet)
    if not isinstance(message, DnsMessage):
        return complaint(packet, code)
    return _pack(message, (), code)


def write(message: DnsMessage, decision: Reply | Refuse, stream: bool) -> bytes | RoundRobin:
    """Return the reply, without id, in the space that the asker has for it."""
    edns = message.edns
    if edns is not None and edns.edns_ver != 0:
        return _pack(message, (), Code.NOERROR, _BAD_VERSION)
    if isinstance(decision, Refuse):
        return _pack(message, (), decision.code)
    room = message.room(stream) - 2
    if decision.services:
        return _offers(message, decision.services, room)
    found = [*map(_address, decision.addresses), *_pointers(decision.pointers)]
    whole = _pack(message, found, Code.NOERROR)
    if len(found) > 1 and {type(rdata) for rdata in found} in ({A}, {AAAA}):
        return _turns(message, whole, found, room)
    return whole if len(whole) <= room else _marked_cut(_pack(message, (), Code.NOERROR), 0)


def _offers(message: DnsMessage, services: Sequence[ServicePort], room: int) -> bytes:
    """Write SRV records with their targets' addresses; these are left out before anything is cut."""
    carried = [(one, label) for one in services for label in _labels((one.target,))]
    found = [SRV(0, 0, one.port, label) for one, label in carried]
    beside = {(label, address) for one, label in carried for address in one.addresses}
    additional = [(label, _address(address)) for label, address in sorted(beside, key=str)]
    whole = _pack(message, found, Code.NOERROR, additional=additional)
    if len(whole) > room:
        whole = _pack(message, found, Code.NOERROR)
    return whole if len(whole) <= room else _marked_cut(_pack(message, (), Code.NOERROR), 0)


def _turns(message: DnsMessage, whole: bytes, found: Sequence[RD], room: int) -> RoundRobin:
    """Cut *whole* apart.  A record is its name as a pointer to the question, ten bytes, and the address."""
    unit = 12 + len(found[0].data)
    start = HEADER - 2 + len(message.record.q.qname) + 2 + 4
    stop = start + len(found) * unit
    shown = min(len(found), (room - start - len(whole) + stop) // unit)
    head = whole[:start] if shown == len(found) else _marked_cut(whole[:start], shown)
    return RoundRobin(head, whole[start:stop], unit, shown, whole[stop:])


def _marked_cut(reply: bytes, shown: int) -> bytes:
    """Set TC, which makes the asker come again over TCP, and the number of answers that are left."""
    return bytes([reply[0] | _TRUNCATED]) + reply[1:4] + shown.to_bytes(2) + reply[6:]


def _address(text: str) -> RD:
    if ":" in text:
        return AAAA(tuple(socket.inet_pton(socket.AF_INET6, text)))
    return A(tuple(socket.inet_pton(socket.AF_INET, text)))


def _pointers(names: Iterable[str]) -> list[RD]:
    """Return PTR records; a name that DNS cannot carry has none."""
    return [PTR(label) for label in _labels(names)]


def _labels(names: Iterable[str]) -> list[DNSLabel]:
    """Return the names that DNS can carry: labels of 63 bytes at most, 255 in all with their lengths (RFC 1035)."""
    split = [[label.encode(errors="surrogateescape") for label in name.split(".")] for name in names]
    return [DNSLabel(labels) for labels in split if _can_carry(labels)]


def _can_carry(labels: Sequence[bytes]) -> bool:
    return all(0 < len(label) < 64 for label in labels) and sum(len(label) + 1 for label in labels) < 255


def _pack(
    message: DnsMessage,
    found: Iterable[RD],
    code: Code,
    extended: int = 0,
    additional: Iterable[tuple[DNSLabel, RD]] = (),
) -> bytes:
    asked = message.record.header
    header = DNSHeader(bitmap=0, qr=1, rd=asked.rd, ra=1, cd=asked.cd, rcode=code)
    reply = DNSRecord(header, q=message.record.q)
    for rdata in found:
        reply.add_answer(RR(message.record.q.qname, _kind(rdata), ttl=TTL, rdata=rdata))
    for name, rdata in additional:
        reply.add_ar(RR(name, _kind(rdata), ttl=TTL, rdata=rdata))
    if message.edns is not None:
        flags = "do" if message.edns.edns_do else ""
        reply.add_ar(EDNS0(flags=flags, udp_len=UDP_SIZE, ext_rcode=extended))
    return bytes(reply.pack()[2:])


def _kind(rdata: RD) -> int:
    return int(QTYPE.reverse[type(rdata).__name__])
