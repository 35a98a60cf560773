"""A first process for containers that asked for one: starts the program, passes signals on, buries the orphans.

It is what tini is to Docker, without a program of its own: the process that made the container goes on as pid 1, with
the container's user, capabilities and system call filter.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios

from runtime.kernel import linux

_OWN = frozenset({4, 5, 6, 7, 8, 11, 21, 22, 31})
"""ILL TRAP ABRT BUS FPE SEGV TTIN TTOU SYS: about this process itself, never passed on."""
_CHILD = 17


def run_as_child(*, terminal: bool) -> None:
    """Return in a new child that is to run the program; the caller's process becomes pid 1's loop and never returns."""
    passed = set(range(1, 65)) - _OWN - {32, 33}
    signal.pthread_sigmask(signal.SIG_BLOCK, passed)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        if terminal:
            _take_foreground()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return
    linux.prctl(linux.PR_SET_NAME, b"init\0")
    linux.close_range(3)
    os._exit(_serve(child, passed))


def _take_foreground() -> None:
    """Make this process group the terminal's; blocked, TTOU does not stop it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    fcntl.ioctl(0, termios.TIOCSPGRP, struct.pack("i", os.getpid()))


def _serve(child: int, passed: set[int]) -> int:
    """Wait for the child; return its exit code."""
    while True:
        number = signal.sigwait(passed)
        if number != _CHILD:
            _pass_on(child, number)
            continue
        status = _bury(child)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _pass_on(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except (ProcessLookupError, PermissionError):
        return


def _bury(child: int) -> int | None:
    """Collect every dead child; return the status of *child* when it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status
