"""The words between launcher, zygote, shim and a container's first process: frames and their packing.

A frame is a kind, a length and that many bytes; values travel as ``marshal`` of plain tuples, dictionaries and
scalars.  :func:`unpack` gives them back as objects with the attributes of the dataclass they came from without
importing that dataclass: ``dataclasses`` alone would triple what every shim keeps in memory.
"""

from __future__ import annotations

import _socket
import marshal
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.spec import ContainerSpec, Process

# daemon to shim
PREPARE, EXEC, ADOPT, GO, HELLO, ATTACH, STDIN, STDIN_END, RESIZE = range(1, 10)
# shim to daemon
READY, PREPARED, STARTED, FAILED, OUTPUT, ENDED, STATE, OUTPUT_END = range(20, 28)
# daemon to zygote
SPARE, JOIN, SUCCEED, NAMESPACES, SPARE_MAPPED = 40, 41, 42, 43, 44

STDOUT, STDERR = 1, 2

HEADER = struct.Struct("<BI")
LARGEST = 16 << 20
_VERSION = 2
"""The form of marshal that every Python 3 reads: a shim may be older than the daemon that finds it again."""


class Record:
    """The fields of a value that came over the wire."""

    def __init__(self, fields: dict[str, object]) -> None:
        self.__dict__.update(fields)


def plain(value: object) -> object:
    """Return *value* with every dataclass in it as a dictionary of its fields."""
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {name: plain(getattr(value, name)) for name in fields}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return value


def _revive(value: object) -> object:
    if isinstance(value, dict):
        return Record({name: _revive(item) for name, item in value.items()})
    if isinstance(value, tuple):
        return tuple([_revive(item) for item in value])
    return value


def pack(value: object) -> bytes:
    return marshal.dumps(value, _VERSION)  # type: ignore[arg-type]


def unpack(data: bytes) -> object:
    return marshal.loads(data)


def unpack_tuple(data: bytes) -> tuple[Any, ...]:
    found: tuple[Any, ...] = marshal.loads(data)
    return found


def pack_spec(spec: ContainerSpec | Process) -> bytes:
    return pack(plain(spec))


def unpack_container(data: bytes) -> ContainerSpec:
    return _revive(unpack(data))  # type: ignore[return-value]


def unpack_process(data: bytes) -> Process:
    return _revive(unpack(data))  # type: ignore[return-value]


def frame(kind: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


class Broken(Exception):
    """The other side is gone or does not keep to the protocol."""


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take what was received; return the frames that are complete now."""
        self._buffer += data
        found = []
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer, start)
            if length > LARGEST:
                raise Broken(f"a frame of {length} bytes")
            end = start + HEADER.size + length
            if end > len(self._buffer):
                break
            found.append((kind, bytes(self._buffer[start + HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return found


def send(sock: _socket.socket, kind: int, payload: bytes = b"", descriptors: tuple[int, ...] = ()) -> None:
    """Send one frame on a blocking socket; *descriptors* travel with its first byte."""
    data = frame(kind, payload)
    extra = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]
    sent = sock.sendmsg([data], extra if descriptors else [], _socket.MSG_NOSIGNAL)
    if sent < len(data):
        sock.sendall(data[sent:], _socket.MSG_NOSIGNAL)


def receive(sock: _socket.socket) -> tuple[int, bytes, list[int]]:
    """Read one frame, and nothing beyond it, from a blocking socket.  Raises Broken at the end of the stream."""
    header, descriptors = receive_some(sock, HEADER.size)
    header += _exactly(sock, HEADER.size - len(header)) if header else b""
    if not header:
        raise Broken("the other side has closed")
    kind, length = HEADER.unpack(header)
    return kind, _exactly(sock, length), descriptors


def receive_some(sock: _socket.socket, size: int) -> tuple[bytes, list[int]]:
    """Read up to *size* bytes and the descriptors that came with them."""
    data, extra, _flags, _address = sock.recvmsg(size, _socket.CMSG_SPACE(4 * 250), _socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for level, kind, body in extra:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            descriptors += struct.unpack(f"{len(body) // 4}i", body[: len(body) // 4 * 4])
    return data, descriptors


def _exactly(sock: _socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            raise Broken("the other side has closed in the middle of a frame")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Return two connected stream sockets, close-on-exec."""
    first, second = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return first, second


def close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
