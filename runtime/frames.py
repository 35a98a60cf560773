"""Frames between daemon, zygote, shims, setup processes and first processes, and the encoding of their payloads.

A frame is a kind (1 byte), the length of the payload (4 bytes, little-endian) and the payload.  Most payloads are
``marshal`` of tuples, dictionaries and scalars, converted from and to typed values by the ``pack_…`` and ``unpack_…``
functions.
:func:`unpack_container` and :func:`unpack_process` return objects with the attributes of the dataclass without
importing it: ``dataclasses`` and ``typing`` would triple the memory of every shim.
"""

from __future__ import annotations

import _socket
import marshal
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypedDict

    from runtime.spec import ContainerSpec, Process

    Node = tuple[str, int, int]
    """See :data:`runtime.kernel.devices.Node`; this module may not import ``kernel``."""

    Value = int | str | bytes | tuple["Value", ...]
    """The types in payloads, other than dictionaries."""

    Failure = tuple[int, str]
    """(exit code as Docker reports it, or errno; message)."""

    ExitFields = tuple[int, str, bool, str]
    """(exit code, time in RFC 3339, whether the OOM killer was active, error)."""

    class ShimState(TypedDict):
        """State of a shim's process: sent to the daemon, and recorded in the shim's folder."""

        id: str
        """Id of the container or exec; also the name of the shim's folder and socket."""
        container: str
        group: str
        """Name of the control group below every hierarchy."""
        tty: bool
        stdin: bool
        stdin_once: bool
        log: tuple[str, int, int]
        """(path or empty, largest size in bytes or -1, number of files)."""
        started: str
        """RFC 3339; empty before the start."""
        pid: int
        start_time: int
        """Clock ticks since boot."""


# daemon to setup process or shim; PREPARE, NETWORK and START also setup process to first process
PREPARE, EXEC, ADOPT, START, HELLO, ATTACH, STDIN, STDIN_END, RESIZE, NETWORK = range(1, 11)
# setup process or shim to daemon; READY, PREPARED and FAILED also first process to setup process
READY, PREPARED, STARTED, FAILED, OUTPUT, ENDED, STATE, OUTPUT_END = range(20, 28)
# first process to setup process: the id of the child that continues in its place
CHILD_PID = 30
# daemon to zygote: what the new shim's setup process is to do
SETUP_CONTAINER, SETUP_EXEC, SETUP_REATTACH, SETUP_NAMESPACES, SETUP_USERNS_CONTAINER = 40, 41, 42, 43, 44

STDOUT, STDERR = 1, 2

HEADER = struct.Struct("<BI")
LARGEST = 16 << 20
_VERSION = 2
"""The format of marshal that every Python 3 reads: a shim may be older than the daemon that reconnects to it."""


class Record:
    """The fields of a dataclass that was received as a dictionary."""

    def __init__(self, fields: dict[str, object]) -> None:
        self.__dict__.update(fields)


def plain(value: Any) -> Any:
    """Return *value* with every dataclass in it as a dictionary of its fields."""
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {name: plain(getattr(value, name)) for name in fields}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return value


def _to_records(value: Any) -> Any:
    if isinstance(value, dict):
        return Record({name: _to_records(item) for name, item in value.items()})
    if isinstance(value, tuple):
        return tuple([_to_records(item) for item in value])
    return value


# Payloads


def pack(value: Value) -> bytes:
    return marshal.dumps(value, _VERSION)


def pack_dict(fields: dict[str, Any]) -> bytes:
    return marshal.dumps(fields, _VERSION)


def unpack(data: bytes) -> object:
    return marshal.loads(data)


def pack_spec(spec: ContainerSpec | Process) -> bytes:
    return pack_dict(plain(spec))


def unpack_container(data: bytes) -> ContainerSpec:
    spec: ContainerSpec = _to_records(marshal.loads(data))
    return spec


def unpack_process(data: bytes) -> Process:
    process: Process = _to_records(marshal.loads(data))
    return process


def pack_failure(code: int, message: str) -> bytes:
    """Encode FAILED."""
    return pack((code, message))


def unpack_failure(data: bytes) -> Failure:
    failure: Failure = marshal.loads(data)
    return failure


def pack_state(state: ShimState) -> bytes:
    """Encode PREPARED, STARTED and STATE to the daemon, and ADOPT."""
    return pack_dict({**state})


def unpack_state(data: bytes) -> ShimState:
    state: ShimState = marshal.loads(data)
    return state


def unpack_exit(data: bytes) -> ExitFields:
    """Decode ENDED."""
    fields: ExitFields = marshal.loads(data)
    return fields


def unpack_pid(data: bytes) -> int:
    """Decode CHILD_PID."""
    pid: int = marshal.loads(data)
    return pid


def pack_network(path: str | None) -> bytes:
    """Encode NETWORK to the setup process: the path of a network namespace; None for the daemon's."""
    return pack(path or "")


def unpack_network(data: bytes) -> str:
    """Decode NETWORK; empty for the daemon's network namespace."""
    path: str = marshal.loads(data)
    return path


def pack_exec(process: Process, group: str, container_id: str, exec_id: str) -> bytes:
    """Encode EXEC; *group* is the name of the container's control group."""
    return pack((pack_spec(process), group, container_id, exec_id))


def unpack_exec(data: bytes) -> tuple[Process, str, str, str]:
    process, group, container_id, exec_id = marshal.loads(data)
    return unpack_process(process), group, container_id, exec_id


def pack_namespaces(first: int, count: int, donor: str, *, network: bool) -> bytes:
    """Encode SETUP_NAMESPACES: the arguments of :func:`runtime.shim.user_namespace.make`."""
    return pack((first, count, donor, network))


def unpack_namespaces(data: bytes) -> tuple[int, int, str, bool]:
    fields: tuple[int, int, str, bool] = marshal.loads(data)
    return fields


def pack_bootstrap(spec: bytes, names: Sequence[str], nodes: Sequence[Node]) -> bytes:
    """Encode PREPARE to a first process: packed spec, names of the descriptors sent along, device nodes to create."""
    return pack((spec, tuple(names), tuple(nodes)))


def unpack_bootstrap(data: bytes) -> tuple[ContainerSpec, tuple[str, ...], tuple[Node, ...]]:
    spec, names, nodes = marshal.loads(data)
    return unpack_container(spec), names, nodes


def pack_handover(state: ShimState, names: Sequence[str]) -> bytes:
    """Encode STARTED to the waiting shim: the state of its process, the names of the descriptors sent along."""
    return marshal.dumps(({**state}, tuple(names)), _VERSION)


def unpack_handover(data: bytes) -> tuple[ShimState, tuple[str, ...]]:
    fields: tuple[ShimState, tuple[str, ...]] = marshal.loads(data)
    return fields


# Frames


def frame(kind: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


class ChannelError(Exception):
    """The peer has closed the connection, or has sent a frame that is too large."""


class Frames:
    """Splits a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Append received *data*; return the frames, (kind, payload), that are complete now."""
        self._buffer += data
        found = []
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer, start)
            if length > LARGEST:
                raise ChannelError(f"a frame of {length} bytes is longer than {LARGEST}")
            end = start + HEADER.size + length
            if end > len(self._buffer):
                break
            found.append((kind, bytes(self._buffer[start + HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return found


def send(sock: _socket.socket, kind: int, payload: bytes = b"", descriptors: tuple[int, ...] = ()) -> None:
    """Send one frame on a blocking socket; *descriptors* are attached to its first byte (SCM_RIGHTS)."""
    data = frame(kind, payload)
    extra = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]
    sent = sock.sendmsg([data], extra if descriptors else [], _socket.MSG_NOSIGNAL)
    if sent < len(data):
        sock.sendall(data[sent:], _socket.MSG_NOSIGNAL)


def receive(sock: _socket.socket) -> tuple[int, bytes, list[int]]:
    """Read one frame, and no byte after it, from a blocking socket.

    Returns (kind, payload, descriptors).  Raises ChannelError at the end of the stream.
    """
    header, descriptors = receive_some(sock, HEADER.size)
    header += _exactly(sock, HEADER.size - len(header)) if header else b""
    if not header:
        raise ChannelError("the peer has closed the connection")
    kind, length = HEADER.unpack(header)
    return kind, _exactly(sock, length), descriptors


def receive_some(sock: _socket.socket, size: int) -> tuple[bytes, list[int]]:
    """Read up to *size* bytes and the descriptors attached to them."""
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
            raise ChannelError("the peer has closed the connection in the middle of a frame")
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
