"""The protocol between netd and netd-dns: typed messages in frames over a Unix stream socket, with descriptors.

A frame is four bytes of length (big-endian), one byte with the number of descriptors sent with it (SCM_RIGHTS), and
JSON ``[kind, fields]``.  Descriptors are sent in the order of their frames.  ``Hello``, ``Welcome``, ``Held``,
``Ready`` and ``Stop`` never change: with them netd takes the sockets over from a netd-dns of another version.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import socket
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from netd.dns.records import NetworkRecords, Patch, Service, Upstream, View

DESCRIPTORS = 3
"""Per sandbox: UDP socket, listening TCP socket, network namespace."""
_MAX_DESCRIPTORS = 253
_MAX_FRAMES = 64
_READ_SIZE = 1 << 16
"""Bytes; malloc would map and unmap an allocation of twice the size at each call."""


def version() -> str:
    """Return a checksum of this package's source; netd replaces a server that runs other code."""
    checksum = 0
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        checksum = zlib.crc32(source.read_bytes(), checksum)
    return f"{checksum:08x}"


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of netd."""

    version: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """The response to Hello; one Held per sandbox follows, then Ready."""

    version: str
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A sandbox that the server serves; sent with copies of its descriptors."""

    sandbox: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The end of the handshake."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Exit; netd's copies of the sockets stay open."""


@dataclass(frozen=True, slots=True)
class OpenSandbox:
    """Serve a sandbox; sent with its descriptors."""

    sandbox: str


@dataclass(frozen=True, slots=True)
class CloseSandbox:
    sandbox: str


@dataclass(frozen=True, slots=True)
class SetView:
    sandbox: str
    view: View


@dataclass(frozen=True, slots=True)
class SetNetwork:
    network: str
    records: NetworkRecords


@dataclass(frozen=True, slots=True)
class PatchNetwork:
    network: str
    patch: Patch


@dataclass(frozen=True, slots=True)
class DropNetwork:
    network: str


@dataclass(frozen=True, slots=True)
class Configure:
    """Settings of the server."""

    low_latency: bool
    """Keep idle processors awake while queries arrive quickly (``netd/dns/low_latency.py``)."""


@dataclass(frozen=True, slots=True)
class Sync:
    """Request Synced once all earlier messages are applied."""

    number: int


@dataclass(frozen=True, slots=True)
class Synced:
    """The response to Sync, with netd-dns's counters (``netd/dns/dns_counters.py``)."""

    number: int
    counters: Mapping[str, Any] = field(default_factory=dict)


Message: TypeAlias = (
    Hello
    | Welcome
    | Held
    | Ready
    | Stop
    | OpenSandbox
    | CloseSandbox
    | SetView
    | SetNetwork
    | PatchNetwork
    | DropNetwork
    | Configure
    | Sync
    | Synced
)


def _names(data: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(addresses) for name, addresses in data.items()}


def _services(data: Mapping[str, Sequence[Sequence[Any]]]) -> dict[str, tuple[Service, ...]]:
    return {name: tuple(Service(*service) for service in services) for name, services in data.items()}


def _upstreams(data: Sequence[Sequence[Any]]) -> tuple[Upstream, ...]:
    return tuple(Upstream(*upstream) for upstream in data)


def _view(data: dict[str, Any]) -> View:
    domains = tuple((domain, _upstreams(upstreams)) for domain, upstreams in data.pop("domains"))
    networks, gateways, upstreams = (data.pop(name) for name in ("networks", "gateways", "upstreams"))
    return View(
        networks=tuple(networks), gateways=tuple(gateways), upstreams=_upstreams(upstreams), domains=domains, **data
    )


def _records(data: dict[str, Any]) -> NetworkRecords:
    names, services, subnets = (data.pop(name) for name in ("names", "services", "subnets"))
    return NetworkRecords(names=_names(names), services=_services(services), subnets=tuple(subnets), **data)


def _patch(data: dict[str, Any]) -> Patch:
    return Patch(_names(data["names"]), data["pointers"], _services(data["services"]))


_DECODERS: Mapping[str, Callable[[dict[str, Any]], Message]] = {
    "Hello": lambda data: Hello(data["version"]),
    "Welcome": lambda data: Welcome(data["version"], tuple(data["networks"])),
    "Held": lambda data: Held(data["sandbox"]),
    "Ready": lambda data: Ready(),
    "Stop": lambda data: Stop(),
    "OpenSandbox": lambda data: OpenSandbox(**data),
    "CloseSandbox": lambda data: CloseSandbox(**data),
    "SetView": lambda data: SetView(data["sandbox"], _view(data["view"])),
    "SetNetwork": lambda data: SetNetwork(data["network"], _records(data["records"])),
    "PatchNetwork": lambda data: PatchNetwork(data["network"], _patch(data["patch"])),
    "DropNetwork": lambda data: DropNetwork(**data),
    "Configure": lambda data: Configure(**data),
    "Sync": lambda data: Sync(**data),
    "Synced": lambda data: Synced(**data),
}


def _as_fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in _field_names(value.__class__)}


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.init)


_encoder = json.JSONEncoder(default=_as_fields, separators=(",", ":"))


def encode(message: Message) -> bytes:
    return _encoder.encode([type(message).__name__, message]).encode()


def decode(data: bytes) -> Message:
    """Return the message in the JSON *data*.  Raises ValueError for anything else."""
    try:
        kind, values = json.loads(data)
        return _DECODERS[kind](values)
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"not a message between netd and netd-dns: {data[:80]!r}") from problem


class MessageSocket:
    """One end of a non-blocking connection; the owner's event loop calls ``receive`` and ``push``."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._unsent: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        self.sent = 0
        """Total bytes."""

    def queue(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Append a message for ``push``, with duplicates of the descriptors, so that the caller may close its own."""
        data = encode(message)
        frame = len(data).to_bytes(4) + bytes([len(descriptors)]) + data
        self._unsent.append((memoryview(frame), tuple(map(os.dup, descriptors))))

    def push(self) -> bool:
        """Send the queued messages; return True when the queue is empty.  Raises OSError if the peer has closed."""
        while self._unsent:
            frames, descriptors = self._next_batch()
            try:
                sent = socket.send_fds(self.sock, frames, descriptors) if descriptors else self.sock.sendmsg(frames)
            except BlockingIOError:
                return False
            self._drop(sent)
        return True

    def _next_batch(self) -> tuple[list[memoryview], tuple[int, ...]]:
        """Return the buffers and descriptors of one sendmsg(2): a frame, and the next ones without descriptors."""
        frames = [self._unsent[0][0]]
        for frame, descriptors in itertools.islice(self._unsent, 1, _MAX_FRAMES):
            if descriptors:
                break
            frames.append(frame)
        return frames, self._unsent[0][1]

    def _drop(self, sent: int) -> None:
        """Remove *sent* bytes from the queue; the kernel sends the descriptors of a frame with its first byte."""
        self.sent += sent
        while sent:
            frame, descriptors = self._unsent.popleft()
            for descriptor in descriptors:
                os.close(descriptor)
            if sent < len(frame):
                self._unsent.appendleft((frame[sent:], ()))
                return
            sent -= len(frame)

    def receive(self) -> Iterator[tuple[Message, tuple[int, ...]]]:
        """Yield the received messages and their descriptors, which the caller closes.

        Call it again while the socket is readable.  Raises EOFError when the peer has closed, ValueError for a
        message that cannot be read.
        """
        while True:
            try:
                data, descriptors, flags, _ = socket.recv_fds(self.sock, _READ_SIZE, _MAX_DESCRIPTORS)
            except BlockingIOError:
                return
            except OSError as problem:
                raise EOFError(str(problem)) from problem
            if not data:
                raise EOFError("closed")
            self._received += data
            self._descriptors.extend(descriptors)
            if flags & socket.MSG_CTRUNC:
                raise EOFError("the process has no free descriptors to receive the ones that were sent")
            yield from self._frames()
            if len(data) < _READ_SIZE and not descriptors:
                return

    def _frames(self) -> Iterator[tuple[Message, tuple[int, ...]]]:
        while len(self._received) >= 5:
            end = 5 + int.from_bytes(self._received[:4])
            if len(self._received) < end:
                return
            count = self._received[4]
            message = decode(bytes(self._received[5:end]))
            del self._received[:end]
            if count > len(self._descriptors):
                raise ValueError(f"{type(message).__name__} was received without its descriptors")
            yield message, tuple(self._descriptors.popleft() for _ in range(count))

    def close(self) -> None:
        for descriptor in itertools.chain(self._descriptors, *(descriptors for _, descriptors in self._unsent)):
            os.close(descriptor)
        self._descriptors.clear()
        self._unsent.clear()
        self.sock.close()
