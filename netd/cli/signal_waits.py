"""Waits for descriptors that end as soon as a signal arrives.

Python only marks a signal when it arrives and runs its handler before the next bytecode, so a signal that arrives just
before a blocking system call is handled after that call: Ctrl-C would have no effect until the daemon sends more data.
The interpreter also writes a byte to a descriptor (``signal.set_wakeup_fd``); poll(2) on it has no such gap.

Only the main thread handles signals: other threads wait without that descriptor.
"""

from __future__ import annotations

import _socket
import _thread
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from queue import SimpleQueue
    from typing import TypeVar

    T = TypeVar("T")
else:
    import _signal  # importing signal takes a millisecond for its enumerations

READABLE, WRITABLE = select.POLLIN, select.POLLOUT

_QUEUE_SECONDS = 0.2
_RETRY_MILLISECONDS = 200

_main_thread = _thread.get_ident()
_wakeup_fds: list[int] = []


def wait(fd: int, events: int = READABLE, milliseconds: int | None = None) -> None:
    """Return when *fd* has one of *events*, an error or its end; signal handlers run meanwhile, and may raise.

    With *milliseconds*, return after that time or after a signal at the latest.
    """
    poll = select.poll()
    poll.register(fd, events)
    wakeup = _wakeup_fd() if _thread.get_ident() == _main_thread else -1
    if wakeup >= 0:
        poll.register(wakeup, select.POLLIN)
    while True:
        ready = [found for found, _ in poll.poll(milliseconds)]
        if wakeup in ready:
            os.read(wakeup, 512)
        if fd in ready or milliseconds is not None:
            return


def read(fd: int, size: int) -> bytes:
    """``os.read`` after :func:`wait`."""
    wait(fd)
    return os.read(fd, size)


def send_all(sock: _socket.socket, data: bytes) -> None:
    """``sock.sendall`` with :func:`wait` where it would block.

    poll(2) does not report that the receiver has shut down its receiving side, so the call is tried again in between.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view, _socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            wait(sock.fileno(), WRITABLE, _RETRY_MILLISECONDS)


def write_all(fd: int, data: bytes) -> None:
    """Write all of *data*, even if another process has made *fd* non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            wait(fd, WRITABLE)


def take(queue: SimpleQueue[T]) -> T:
    """``queue.get()`` that handles signals after at most 0.2 s, because a lock has no descriptor for poll(2)."""
    from queue import Empty

    while True:
        try:
            return queue.get(timeout=_QUEUE_SECONDS)
        except Empty:
            continue


def _wakeup_fd() -> int:
    """Return the descriptor to which the interpreter writes a byte for each signal that has a handler."""
    if not _wakeup_fds:
        read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        _wakeup_fds.append(read_fd)
    return _wakeup_fds[0]
