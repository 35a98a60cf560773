"""What netd and its name server say to each other: typed messages in frames, with descriptors beside them.

A frame is four bytes of length, one byte that counts the descriptors sent with it, and JSON.  Descriptors travel in
the order of the frames they belong to.  ``Hello``, ``Welcome``, ``Held``, ``Ready`` and ``Stop`` never
change their form: they are what two versions need to hand the
sockets over.
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
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

from netd.dns.records import NetworkRecords, Patch, Service, Upstream, View

DESCRIPTORS = 3
"""Of a sandbox: UDP socket, listening TCP socket, namespace."""
_MOST_DESCRIPTORS = 253
_MOST_FRAMES = 64
_READ_SIZE = 1 << 16
"""Bytes; an allocation of twice as much would be mapped and unmapped each time."""


def version() -> str:
    """Return a mark of this package's code: a server that runs other code is replaced, changed messages or not."""
    mark = 0
    for source in sorted(Path(__file__).parent.glob("*.py")):
        mark = zlib.crc32(source.read_bytes(), mark)
    return f"{mark:08x}"


@dataclass(frozen=True, slots=True)
class Hello:
    """From netd, first of all."""

    version: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to Hello; one Held for each sandbox follows, then Ready."""

    version: str
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A sandbox that is being served, with copies of its descriptors."""

    sandbox: str


@dataclass(frozen=True, slots=True)
class Ready:
    pass


@dataclass(frozen=True, slots=True)
class Stop:
    """End; the sockets live on wherever else they are held."""


@dataclass(frozen=True, slots=True)
class OpenSandbox:
    """Comes with the descriptors."""

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
class Sync:
    """Asks for Synced, when all that came before is in force."""

    number: int


@dataclass(frozen=True, slots=True)
class Synced:
    number: int


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
    | Sync
    | Synced
)


def _names(found: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(addresses) for name, addresses in found.items()}


def _services(found: Mapping[str, Sequence[Sequence[Any]]]) -> dict[str, tuple[Service, ...]]:
    return {name: tuple(Service(*service) for service in services) for name, services in found.items()}


def _upstreams(found: Sequence[Mapping[str, Any]]) -> tuple[Upstream, ...]:
    return tuple(Upstream(**upstream) for upstream in found)


def _view(found: dict[str, Any]) -> View:
    domains = tuple((domain, _upstreams(upstreams)) for domain, upstreams in found.pop("domains"))
    networks, gateways, upstreams = (found.pop(name) for name in ("networks", "gateways", "upstreams"))
    return View(
        networks=tuple(networks), gateways=tuple(gateways), upstreams=_upstreams(upstreams), domains=domains, **found
    )


def _records(found: dict[str, Any]) -> NetworkRecords:
    names, services, subnets = (found.pop(name) for name in ("names", "services", "subnets"))
    return NetworkRecords(names=_names(names), services=_services(services), subnets=tuple(subnets), **found)


def _patch(found: dict[str, Any]) -> Patch:
    return Patch(_names(found["names"]), found["pointers"], _services(found["services"]))


_READERS: Mapping[str, Callable[[dict[str, Any]], Message]] = {
    "Hello": lambda found: Hello(found["version"]),
    "Welcome": lambda found: Welcome(found["version"], tuple(found["networks"])),
    "Held": lambda found: Held(found["sandbox"]),
    "Ready": lambda found: Ready(),
    "Stop": lambda found: Stop(),
    "OpenSandbox": lambda found: OpenSandbox(**found),
    "CloseSandbox": lambda found: CloseSandbox(**found),
    "SetView": lambda found: SetView(found["sandbox"], _view(found["view"])),
    "SetNetwork": lambda found: SetNetwork(found["network"], _records(found["records"])),
    "PatchNetwork": lambda found: PatchNetwork(found["network"], _patch(found["patch"])),
    "DropNetwork": lambda found: DropNetwork(**found),
    "Sync": lambda found: Sync(**found),
    "Synced": lambda found: Synced(**found),
}


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in _sent(value.__class__)}


@functools.cache
def _sent(kind: Any) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind) if one.init)


_encoder = json.JSONEncoder(default=_plain, separators=(",", ":"))


def encode(message: Message) -> bytes:
    return _encoder.encode([type(message).__name__, message]).encode()


def decode(data: bytes) -> Message:
    """Return the message; raises ValueError when it is none of ours."""
    try:
        kind, found = json.loads(data)
        return _READERS[kind](found)
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"not a message between netd and netd-dns: {data[:80]!r}") from problem


class Pipe:
    """One end of the connection, without waiting: the owner's loop says when to read and when to write on."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._unsent: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        self.sent = 0
        """Bytes so far."""

    def queue(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Put a message in line for ``push``, with copies of the descriptors, so that they may be closed meanwhile."""
        data = encode(message)
        frame = len(data).to_bytes(4) + bytes([len(descriptors)]) + data
        self._unsent.append((memoryview(frame), tuple(map(os.dup, descriptors))))

    def push(self) -> bool:
        """Send what is queued; says whether all has gone.  Raises OSError when the peer has."""
        while self._unsent:
            frames, descriptors = self._next_run()
            try:
                sent = socket.send_fds(self.sock, frames, descriptors) if descriptors else self.sock.sendmsg(frames)
            except BlockingIOError:
                return False
            self._drop(sent)
        return True

    def _next_run(self) -> tuple[list[memoryview], tuple[int, ...]]:
        """Return what one call can carry: a frame with its descriptors and those behind it that have none."""
        frames = [self._unsent[0][0]]
        for frame, descriptors in itertools.islice(self._unsent, 1, _MOST_FRAMES):
            if descriptors:
                break
            frames.append(frame)
        return frames, self._unsent[0][1]

    def _drop(self, sent: int) -> None:
        """Take what was sent out of the queue; descriptors have gone with the first byte."""
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
        """Yield what has come, with descriptors for the taker to close; call again while there is something to read.

        Raises EOFError when the peer has gone.
        """
        while True:
            try:
                data, descriptors, flags, _ = socket.recv_fds(self.sock, _READ_SIZE, _MOST_DESCRIPTORS)
            except BlockingIOError:
                return
            except OSError as problem:
                raise EOFError(str(problem)) from problem
            if not data:
                raise EOFError("closed")
            self._received += data
            self._descriptors.extend(descriptors)
            if flags & socket.MSG_CTRUNC:
                raise EOFError("no descriptors left to receive what was sent")
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
                raise ValueError(f"{type(message).__name__} came without its descriptors")
            yield message, tuple(self._descriptors.popleft() for _ in range(count))

    def close(self) -> None:
        for descriptor in itertools.chain(self._descriptors, *(descriptors for _, descriptors in self._unsent)):
            os.close(descriptor)
        self._descriptors.clear()
        self._unsent.clear()
        self.sock.close()
