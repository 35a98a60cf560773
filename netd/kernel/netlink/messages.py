"""Netlink messages: packing, sending in batches, collecting answers.

Owns sockets and the common framing; what the messages mean is up to rtnl.py, conntrack.py and watch.py.
Requests are packed here by hand because pyroute2 takes half a millisecond to encode what struct does in
fifteen microseconds, and attaching a container is made of six of them.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SO_RCVBUFFORCE = 33
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP_INTERRUPTED, _DUMP, _ACK_TLVS = 0x1, 0x4, 0x10, 0x300, 0x200
EXCL, REPLACE, CREATE = 0x200, 0x100, 0x400
_NESTED = 0x8000
_ANSWER = 1 << 18
_RECEIVE_BUFFER = 4 << 20


@dataclass(frozen=True, slots=True)
class Request:
    kind: int
    body: bytes
    flags: int = 0
    tolerate: tuple[int, ...] = ()
    """Error numbers that count as done."""


@dataclass(frozen=True, slots=True)
class Message:
    kind: int
    flags: int
    number: int
    """The request's that it answers."""
    data: bytes
    """The whole message with its header."""

    @property
    def body(self) -> bytes:
        return self.data[_HEADER.size :]


def attribute(kind: int, payload: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Return the payloads by kind, of the attributes from *start* to the end."""
    found: dict[int, bytes] = {}
    while start + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def messages(data: bytes, but: Container[int] = ()) -> Iterator[Message]:
    """Split what one receive gave; messages of the kinds *but* are left out."""
    start = 0
    while start + _HEADER.size <= len(data):
        length, kind, flags, number, _ = _HEADER.unpack_from(data, start)
        if length < _HEADER.size:
            return
        if kind not in but:
            yield Message(kind, flags, number, data[start : start + length])
        start += (length + 3) & ~3


class Netlink:
    """One netlink socket, in the namespace of the thread that makes it.  Not for two threads at once."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _STRICT, 1)
        # An acknowledgement of forty bytes takes a kilobyte here; one that finds no room is lost.
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        self._socket.bind((0, 0))
        self._number = 0
        """Of the last request sent: an answer to an earlier one, given up by an error, is not taken for its own."""

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def talk(self, *requests: Request) -> None:
        """Send all the requests at once.  The kernel tries each, whatever became of those before it.

        Raises OSError for the first that failed in a way it does not tolerate, with the kernel's explanation.
        """
        if not requests:
            return
        first = self._number + 1
        self._number += len(requests)
        self._socket.send(b"".join(_pack(one, _ACK, number) for number, one in enumerate(requests, first)))
        outcomes: dict[int, OSError | None] = {}
        while len(outcomes) < len(requests):
            for answer in messages(self._socket.recv(_ANSWER)):
                if answer.kind == _ERROR and answer.number >= first:
                    outcomes[answer.number] = _problem(answer)
        for number, request in enumerate(requests, first):
            problem = outcomes[number]
            if problem is not None and problem.errno not in request.tolerate:
                raise problem

    def get(self, request: Request) -> list[Message]:
        """Return what the kernel answers to a question about one object; OSError when there is none."""
        return self._ask(request, _ACK)[0]

    def dump(self, request: Request) -> list[Message]:
        """Return all that the kernel lists.  A listing that changed under our eyes is asked for again."""
        while True:
            found, whole = self._ask(request, _DUMP)
            if whole:
                return found

    def _ask(self, request: Request, flags: int) -> tuple[list[Message], bool]:
        self._number += 1
        self._socket.send(_pack(request, flags, self._number))
        found: list[Message] = []
        whole = True
        while True:
            for answer in messages(self._socket.recv(_ANSWER)):
                if answer.number != self._number:
                    continue
                whole = whole and not answer.flags & _DUMP_INTERRUPTED
                if answer.kind == _ERROR and (problem := _problem(answer)) is not None:
                    raise problem
                if answer.kind in (_DONE, _ERROR):
                    return found, whole
                found.append(answer)


def _pack(request: Request, flags: int, number: int) -> bytes:
    length = _HEADER.size + len(request.body)
    return _HEADER.pack(length, request.kind, request.flags | flags | _REQUEST, number, 0) + request.body


def _problem(answer: Message) -> OSError | None:
    (code,) = struct.unpack_from("=i", answer.data, _HEADER.size)
    if code == 0:
        return None
    said = attributes(answer.data, _HEADER.size + 20) if answer.flags & _ACK_TLVS else {}
    reason = said.get(1, b"").rstrip(b"\0").decode(errors="replace")
    return OSError(-code, f"{os.strerror(-code)} ({reason})" if reason else os.strerror(-code))
