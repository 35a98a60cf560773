"""Copies bytes between the standard streams and an attached connection until the daemon closes it.

No direction blocks the other: a program that reads slowly and writes much would otherwise cause a deadlock.
"""

from __future__ import annotations

import os
import select

from netd.cli.errors import Fault
from netd.cli.signal_waits import write_all
from netd.cli.transport.stream_frames import DetachKeys, Frames
from netd.cli.transport.terminal import STDERR, STDIN, STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from netd.cli.transport.terminal import SignalPipe

_CHUNK = 1 << 15
_CONNECTION_LOST = "the connection was lost before the end of the output; the program may still run"


class Relay:
    """One attached session.  ``framed`` output is split into standard output and error."""

    def __init__(
        self,
        connection: tuple[_socket.socket, bytes],
        *,
        framed: bool,
        keys: bytes = b"",
        signals: SignalPipe,
        on_signal: Callable[[int], None],
    ) -> None:
        self._sock, self._received = connection
        self._sock.setblocking(False)
        self._frames = Frames() if framed else None
        self._keys = DetachKeys(keys)
        self._signals, self._on_signal = signals, on_signal
        self._pending = b""
        self._stdin_open = False
        self._write_side_open = True

    def run(self, *, stdin: bool) -> bool:
        """Return True when the daemon ends the session, False when the user types the detach keys."""
        self._stdin_open = stdin
        try:
            self._write_output(self._received)
            if not stdin:
                self._close_write_side()
            while True:
                ended = self._step()
                if ended is not None:
                    return ended
        finally:
            self._sock.close()

    def _step(self) -> bool | None:
        ready = dict(self._wait())
        if self._signals.fd in ready:
            for number in self._signals.received():
                self._on_signal(number)
        if self._sock.fileno() in ready and not self._receive():
            return True
        if self._pending:
            self._send_pending()
        elif self._stdin_open and STDIN in ready and not self._read_stdin():
            return False
        return None

    def _wait(self) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(self._signals.fd, select.POLLIN)
        poll.register(self._sock.fileno(), select.POLLIN | (select.POLLOUT if self._pending else 0))
        if self._stdin_open and not self._pending:
            poll.register(STDIN, select.POLLIN)
        return poll.poll()

    def _receive(self) -> bool:
        try:
            data = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            raise Fault(_CONNECTION_LOST) from None
        if not data and self._frames is not None and not self._frames.complete:
            raise Fault(_CONNECTION_LOST)
        self._write_output(data)
        return bool(data)

    def _write_output(self, data: bytes) -> None:
        if self._frames is None:
            write_all(STDOUT, data)
            return
        for stream, piece in self._frames.feed(data):
            if stream == 3:
                raise Fault(piece.decode("utf-8", "replace").strip())
            write_all(STDERR if stream == 2 else STDOUT, piece)

    def _read_stdin(self) -> bool:
        """Read standard input; return False if it completes the detach keys."""
        try:
            data = os.read(STDIN, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self._stdin_open = False
            self._close_write_side()
            return True
        self._pending, detached = self._keys.feed(data)
        self._send_pending()
        return not detached

    def _send_pending(self) -> None:
        try:
            while self._pending:
                self._pending = self._pending[self._sock.send(self._pending) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._pending, self._stdin_open = b"", False

    def _close_write_side(self) -> None:
        """Shut down the sending side of the connection; output is still received."""
        if self._write_side_open:
            self._write_side_open = False
            try:
                self._sock.shutdown(1)
            except OSError:
                return
