"""The daemon's end of a connection to the zygote or a shim: asynchronous sending and receiving of frames."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress

from runtime import frames

NOT_LISTENING = (ConnectionError, FileNotFoundError)
"""Errors of connecting to a socket on which no process listens; other errors do not imply that none listens."""


class Channel:
    """Frames over one socket.  Data is read only while a caller waits, so a slow reader blocks the sender."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._frames = frames.Frames()
        self._ready: deque[tuple[int, bytes]] = deque()
        self._descriptors: list[int] = []
        self._waiter: asyncio.Future[None] | None = None
        self._lock = asyncio.Lock()
        self._ended = False

    async def send(self, kind: int, payload: bytes = b"") -> None:
        """Send one frame.  Raises frames.ChannelError if the peer has closed the connection."""
        async with self._lock:
            try:
                await self._loop.sock_sendall(self._sock, frames.frame(kind, payload))
            except OSError as problem:
                raise frames.ChannelError(f"the connection is broken: {problem}") from None

    def send_with(self, kind: int, payload: bytes, descriptors: tuple[int, ...]) -> None:
        """Send the first frame of a connection, with descriptors; blocking, as it fits into the socket's buffer."""
        self._sock.setblocking(True)
        try:
            frames.send(self._sock, kind, payload, descriptors)
        except OSError as problem:
            raise frames.ChannelError(f"the connection is broken: {problem}") from None
        finally:
            self._sock.setblocking(False)

    async def receive(self) -> tuple[int, bytes]:
        """Return the next frame, (kind, payload).  Raises frames.ChannelError at the end of the stream."""
        while not self._ready:
            if self._ended:
                raise frames.ChannelError("the peer has closed the connection")
            self._read()
            if not self._ready and not self._ended:
                await self._readable()
        return self._ready.popleft()

    def take_descriptors(self) -> list[int]:
        """Return the descriptors received so far; the caller owns them from now on."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._ended = True
        frames.close_all(self.take_descriptors())
        self._wake()

    async def finish(self) -> None:
        """Close the sending direction, wait until the peer closes the connection, and close it."""
        with suppress(OSError, frames.ChannelError):
            self._sock.shutdown(socket.SHUT_WR)
            while True:
                await self.receive()
        self.close()

    def _read(self) -> None:
        try:
            data, descriptors = frames.receive_some(self._sock, 65536)
            self._descriptors += descriptors
            self._ready += self._frames.feed(data)
        except BlockingIOError:
            return
        except (ConnectionError, frames.ChannelError):
            data = b""
        self._ended = self._ended or not data

    async def _readable(self) -> None:
        self._waiter = self._loop.create_future()
        # By its number: the event loop formats a socket object, with its addresses, for an error that it then handles.
        self._loop.add_reader(self._sock.fileno(), self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if self._sock.fileno() >= 0:
                self._loop.remove_reader(self._sock.fileno())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def connect(directory: int, name: str) -> Channel:
    """Connect to the socket *name* in *directory*.  Raises OSError, NOT_LISTENING among others."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, f"/proc/self/fd/{directory}/{name}")
    except BaseException:
        sock.close()
        raise
    return Channel(sock)
