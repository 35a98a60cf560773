"""The terminal of netctl, and signals during an attached session."""

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
    """Return rows and columns of the terminal, or None if there is no terminal."""
    for fd in (STDOUT, STDIN):
        try:
            columns, rows = os.get_terminal_size(fd)
        except OSError:
            continue
        return [rows, columns]
    return None


class RawMode:
    """Context manager for raw mode: no line editing, no echo, no signals from keys.

    Restores the terminal's settings on exit, also after exceptions.
    """

    def __init__(self, fd: int = STDIN) -> None:
        self._fd = fd
        self._saved: list[Any] = []

    def __enter__(self) -> RawMode:
        import termios
        import tty

        self._saved = termios.tcgetattr(self._fd)
        tty.setraw(self._fd, termios.TCSANOW)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        import termios

        termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)


class SingleKeys(RawMode):
    """Context manager for keys one by one and without echo; Ctrl-C is a signal still."""

    def __enter__(self) -> SingleKeys:
        import termios
        import tty

        self._saved = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd, termios.TCSANOW)
        return self


class SignalPipe:
    """Context manager that converts the given signals into bytes on ``fd``; ``received()`` returns their numbers."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = tuple(numbers)
        self._handlers: list[Any] = []
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> SignalPipe:
        self._wakeup = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._handlers = [signal.signal(number, _ignore) for number in self._numbers]
        return self

    def received(self) -> list[int]:
        try:
            return [number for number in os.read(self.fd, 512) if number in self._numbers]
        except BlockingIOError:
            return []

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in zip(self._numbers, self._handlers, strict=True):
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self.fd)
        os.close(self._write_fd)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: Python writes to the wake-up descriptor only for signals with a handler."""
