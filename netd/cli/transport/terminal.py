"""The terminal that netctl was started in, and the signals that netctl gets while it is in the middle of a session."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType
    from typing import Any

STDIN, STDOUT, STDERR = 0, 1, 2


def is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def size() -> list[int] | None:
    """Return rows and columns of the terminal, None where there is none."""
    for fd in (STDOUT, STDIN):
        try:
            columns, rows = os.get_terminal_size(fd)
        except OSError:
            continue
        return [rows, columns]
    return None


class Raw:
    """While entered, keys reach the program as they are typed: no line editing, no echo, no signals.

    What the terminal was set to comes back on leaving, however the block is left.
    """

    def __init__(self, fd: int = STDIN) -> None:
        self._fd = fd
        self._before: list[Any] = []

    def __enter__(self) -> Raw:
        import termios
        import tty

        self._before = termios.tcgetattr(self._fd)
        tty.setraw(self._fd, termios.TCSANOW)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        import termios

        termios.tcsetattr(self._fd, termios.TCSANOW, self._before)


class Signals:
    """While entered, the given signals do nothing but make ``fd`` readable; ``taken()`` tells which have come."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = tuple(numbers)
        self._handlers: list[Any] = []
        self.fd, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Signals:
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._handlers = [signal.signal(number, _nothing) for number in self._numbers]
        return self

    def taken(self) -> list[int]:
        try:
            return [number for number in os.read(self.fd, 512) if number in self._numbers]
        except BlockingIOError:
            return []

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in zip(self._numbers, self._handlers, strict=True):
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self.fd)
        os.close(self._write)


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler must be there for the wake-up to happen."""
