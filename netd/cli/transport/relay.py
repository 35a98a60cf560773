"""Moves bytes between our standard streams and an attached connection until the other side ends it.

It never waits on one direction while the other could go on: a program that reads slowly and writes much would
otherwise stop both sides for good.
"""

from __future__ import annotations

import os
import select

from netd.cli.errors import Fault
from netd.cli.transport.stream_frames import DetachKeys, Frames
from netd.cli.transport.terminal import STDERR, STDIN, STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from netd.cli.transport.terminal import Signals

_CHUNK = 1 << 15
_LOST = "the connection was lost before the end of the output; the program may go on"


class Relay:
    """One attached session.  ``framed`` output is spread over standard output and error, else all is output."""

    def __init__(
        self,
        connection: tuple[_socket.socket, bytes],
        *,
        framed: bool,
        keys: bytes = b"",
        signals: Signals,
        on_signal: Callable[[int], None],
    ) -> None:
        self._sock, self._early = connection
        self._sock.setblocking(False)
        self._frames = Frames() if framed else None
        self._keys = DetachKeys(keys)
        self._signals, self._on_signal = signals, on_signal
        self._pending = b""
        self._reading = False
        self._open = True

    def run(self, *, stdin: bool) -> bool:
        """Return True when the other side has ended the session, False when the user typed the detach keys."""
        self._reading = stdin
        try:
            self._show(self._early)
            if not stdin:
                self._shut()
            while True:
                ended = self._turn()
                if ended is not None:
                    return ended
        finally:
            self._sock.close()

    def _turn(self) -> bool | None:
        ready = dict(self._wait())
        if self._signals.fd in ready:
            for number in self._signals.taken():
                self._on_signal(number)
        if self._sock.fileno() in ready and not self._receive():
            return True
        if self._pending:
            self._push()
        elif self._reading and STDIN in ready and not self._typed():
            return False
        return None

    def _wait(self) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(self._signals.fd, select.POLLIN)
        poll.register(self._sock.fileno(), select.POLLIN | (select.POLLOUT if self._pending else 0))
        if self._reading and not self._pending:
            poll.register(STDIN, select.POLLIN)
        return poll.poll()

    def _receive(self) -> bool:
        try:
            data = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            raise Fault(_LOST) from None
        if not data and self._frames is not None and not self._frames.complete:
            raise Fault(_LOST)
        self._show(data)
        return bool(data)

    def _show(self, data: bytes) -> None:
        if self._frames is None:
            write_all(STDOUT, data)
            return
        for stream, piece in self._frames.feed(data):
            if stream == 3:
                raise Fault(piece.decode("utf-8", "replace").strip())
            write_all(STDERR if stream == 2 else STDOUT, piece)

    def _typed(self) -> bool:
        """Take what standard input has; False when it completes the detach keys."""
        try:
            data = os.read(STDIN, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self._reading = False
            self._shut()
            return True
        self._pending, detached = self._keys.feed(data)
        self._push()
        return not detached

    def _push(self) -> None:
        try:
            while self._pending:
                self._pending = self._pending[self._sock.send(self._pending) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._pending, self._reading = b"", False

    def _shut(self) -> None:
        """Tell the other side that no more input comes; its output goes on."""
        if self._open:
            self._open = False
            try:
                self._sock.shutdown(1)
            except OSError:
                return


def write_all(fd: int, data: bytes) -> None:
    """Write all of *data*, also where somebody has made *fd* non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select((), (fd,), ())
