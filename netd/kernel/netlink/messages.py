"""Netlink messages: packing, sending in batches, collecting replies.

Owns sockets and the common framing; must not interpret message bodies, which rtnl.py, conntrack.py and watch.py do.
Requests are packed with struct: pyroute2 takes 500 µs for a request that struct packs in 15 µs, and attaching a
container takes six requests.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SO_RCVBUFFORCE = 33
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP_INTERRUPTED, _DUMP, _ACK_TLVS = 0x1, 0x4, 0x10, 0x300, 0x200
EXCL, REPLACE, CREATE = 0x200, 0x100, 0x400
NESTED = 0x8000
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
"""NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END of linux/netfilter/nfnetlink.h."""
_REPLY_SIZE = 1 << 18
_RECEIVE_BUFFER = 4 << 20


@dataclass(frozen=True, slots=True)
class Request:
    kind: int
    body: bytes
    flags: int = 0
    tolerate: tuple[int, ...] = ()
    """Error numbers that count as success."""


@dataclass(frozen=True, slots=True)
class Message:
    kind: int
    flags: int
    number: int
    """The sequence number of the request that it replies to."""
    data: bytes
    """The whole message, header included."""

    @property
    def body(self) -> bytes:
        return self.data[_HEADER.size :]


def attribute(kind: int, payload: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Return the payloads, by type, of the attributes from *start* to the end."""
    found: dict[int, bytes] = {}
    while start + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def payloads(data: bytes) -> Iterator[bytes]:
    """Yield the payloads of the attributes of a list, which have equal types."""
    start = 0
    while start + 4 <= len(data):
        length, _ = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            break
        yield data[start + 4 : start + length]
        start += (length + 3) & ~3


def messages(data: bytes, skip: Container[int] = ()) -> Iterator[Message]:
    """Yield the messages of a datagram, except those of the types *skip*."""
    start = 0
    while start + _HEADER.size <= len(data):
        length, kind, flags, number, _ = _HEADER.unpack_from(data, start)
        if length < _HEADER.size:
            return
        if kind not in skip:
            yield Message(kind, flags, number, data[start : start + length])
        start += (length + 3) & ~3


class Netlink:
    """A netlink socket in the namespace of the thread that creates it.  Not thread-safe."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _STRICT, 1)
        # An acknowledgement of 40 bytes takes 1 KiB of this buffer, and is lost if the buffer is full.
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        self._socket.bind((0, 0))
        self._number = 0
        """The last sequence number sent.  Replies to earlier requests, abandoned after an error, are ignored."""

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def talk(self, *requests: Request) -> None:
        """Send all requests in one datagram.  The kernel executes each, also after one that failed.

        Raises OSError for the first that failed with an error it does not tolerate, with the kernel's message.
        """
        self.exchange(*requests)

    def exchange(self, *requests: Request) -> list[list[Message]]:
        """Do what ``talk`` does, and return the messages that answer each request; [] for changes."""
        if not requests:
            return []
        first = self._number + 1
        self._number += len(requests)
        self._socket.send(b"".join(_pack(request, _ACK, number) for number, request in enumerate(requests, first)))
        outcomes: dict[int, OSError | None] = {}
        found: list[list[Message]] = [[] for _ in requests]
        while len(outcomes) < len(requests):
            for reply in messages(self._socket.recv(_REPLY_SIZE)):
                if reply.number < first:
                    continue
                if reply.kind == _ERROR:
                    outcomes[reply.number] = _problem(reply)
                else:
                    found[reply.number - first].append(reply)
        for number, request in enumerate(requests, first):
            problem = outcomes[number]
            if problem is not None and problem.errno not in request.tolerate:
                raise problem
        return found

    def transact(self, subsystem: int, requests: Sequence[Request]) -> None:
        """Send *requests* as one transaction of a netfilter subsystem: all of them take effect, or none.

        Raises OSError for the first that failed, or for the transaction as a whole (ERESTART, ENOMEM).
        """
        begin = self._number + 1
        last = begin + len(requests)
        self._number = last + 1
        marker = struct.pack("=BBH", 0, 0, socket.htons(subsystem))
        packed = [_pack(Request(_BATCH_BEGIN, marker), 0, begin)]
        # The reply to the last request follows the errors of all others.
        packed += [_pack(request, _ACK * (at == last), at) for at, request in enumerate(requests, begin + 1)]
        self._socket.send(b"".join([*packed, _pack(Request(_BATCH_END, marker), 0, last + 1)]))
        problems: dict[int, OSError | None] = {}
        while last not in problems and begin not in problems:
            # The kernel has replied when ``send`` returns.
            for reply in messages(self._socket.recv(_REPLY_SIZE, socket.MSG_DONTWAIT)):
                if reply.number >= begin and reply.kind == _ERROR:
                    problems[reply.number] = _problem(reply)
        for _, problem in sorted(problems.items()):
            if problem is not None:
                raise problem

    def get(self, request: Request) -> list[Message]:
        """Return the reply to a request about a single object.  Raises OSError if it does not exist."""
        return self._ask(request, _ACK)[0]

    def dump(self, request: Request) -> list[Message]:
        """Return the whole dump.  A dump that a concurrent change interrupted is repeated."""
        while True:
            found, consistent = self._ask(request, _DUMP)
            if consistent:
                return found

    def _ask(self, request: Request, flags: int) -> tuple[list[Message], bool]:
        self._number += 1
        self._socket.send(_pack(request, flags, self._number))
        found: list[Message] = []
        consistent = True
        while True:
            for reply in messages(self._socket.recv(_REPLY_SIZE)):
                if reply.number != self._number:
                    continue
                consistent = consistent and not reply.flags & _DUMP_INTERRUPTED
                if reply.kind == _ERROR and (problem := _problem(reply)) is not None:
                    raise problem
                if reply.kind in (_DONE, _ERROR):
                    return found, consistent
                found.append(reply)


def _pack(request: Request, flags: int, number: int) -> bytes:
    length = _HEADER.size + len(request.body)
    return _HEADER.pack(length, request.kind, request.flags | flags | _REQUEST, number, 0) + request.body


def _problem(reply: Message) -> OSError | None:
    (code,) = struct.unpack_from("=i", reply.data, _HEADER.size)
    if code == 0:
        return None
    attrs = attributes(reply.data, _HEADER.size + 20) if reply.flags & _ACK_TLVS else {}
    reason = attrs.get(1, b"").rstrip(b"\0").decode(errors="replace")
    return OSError(-code, f"{os.strerror(-code)} ({reason})" if reason else os.strerror(-code))
