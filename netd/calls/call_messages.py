"""Messages of the call connection: requests and replies, each behind its length.  Pure.

A runtime opens the connection by ``GET /netd/v1/calls`` with ``Upgrade: tcp`` and the header ``Netd-Calls``, whose
value is the version of this format.  Each message is MessagePack behind four bytes of length (little-endian).  Replies
come in any order; the number of a request links it to its reply.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

PATH, HEADER, VERSION = "/netd/v1/calls", "Netd-Calls", "1"
MAX_MESSAGE = 64 << 20
"""Bytes of one message."""
_LENGTH = struct.Struct("<I")


class CallRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request: what an HTTP request has, apart from the connection."""

    number: int
    request_id: str
    method: str
    path: str
    """Percent-encoded, without the query."""
    query: list[tuple[str, str]]
    content_type: str
    body: bytes


class CallReply(msgspec.Struct, frozen=True, array_like=True):
    number: int
    status: int
    """The HTTP status; errors have the body of Docker's API."""
    content_type: str
    body: bytes


M = TypeVar("M", CallRequest, CallReply)
_encode = msgspec.msgpack.Encoder().encode


class MessageTooLarge(ValueError):
    """A message is larger than ``MAX_MESSAGE``."""


def pack(message: CallRequest | CallReply) -> bytes:
    """Return the message as sent.  Raises MessageTooLarge."""
    data = _encode(message)
    if len(data) > MAX_MESSAGE:
        raise MessageTooLarge(f"a message of {len(data)} bytes is larger than {MAX_MESSAGE}")
    return _LENGTH.pack(len(data)) + data


class Splitter(Generic[M]):
    """Splits a byte stream into messages; keeps an incomplete one for the next call."""

    def __init__(self, kind: type[M]) -> None:
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(kind)
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[M]:
        """Yield the messages that *data* completes.  Raises MessageTooLarge, msgspec.DecodeError."""
        self._rest += data
        start = 0
        try:
            while len(self._rest) >= start + _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._rest, start)
                if length > MAX_MESSAGE:
                    raise MessageTooLarge(f"a message of {length} bytes is larger than {MAX_MESSAGE}")
                end = start + _LENGTH.size + length
                if len(self._rest) < end:
                    break
                message = self._decoder.decode(memoryview(self._rest)[start + _LENGTH.size : end])
                start = end
                yield message
        finally:
            del self._rest[:start]
