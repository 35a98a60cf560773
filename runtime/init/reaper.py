"""The pid 1 of containers with ``--init``: starts the program, forwards signals to it, reaps orphaned processes.

It replaces Docker's tini without a separate executable: the process that has set up the container stays as pid 1, with
the container's user, capabilities and seccomp filter.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios

from runtime.kernel import linux

_NOT_FORWARDED = frozenset({4, 5, 6, 7, 8, 11, 21, 22, 31})
"""ILL TRAP ABRT BUS FPE SEGV TTIN TTOU SYS: raised for this process itself."""
_SIGCHLD = 17


def run_as_child(*, terminal: bool) -> None:
    """Fork and return in the child, which executes the program; the parent runs the loop of pid 1 until it exits."""
    forwarded = set(range(1, 65)) - _NOT_FORWARDED - {32, 33}
    signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
    # Before the fork, so that the program never sees another name of pid 1; its own name is set by execve.
    linux.prctl(linux.PR_SET_NAME, b"init\0")
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        if terminal:
            _take_foreground()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return
    linux.close_range(3)
    os._exit(_serve(child, forwarded))


def _take_foreground() -> None:
    """Make this process group the foreground group of the terminal; SIGTTOU is blocked so that it does not stop us."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    fcntl.ioctl(0, termios.TIOCSPGRP, struct.pack("i", os.getpid()))


def _serve(child: int, forwarded: set[int]) -> int:
    """Forward signals and reap until *child* has ended; return its exit code, 128 + signal if it was killed."""
    while True:
        number = signal.sigwait(forwarded)
        if number != _SIGCHLD:
            _forward(child, number)
            continue
        status = _reap(child)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _forward(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except (ProcessLookupError, PermissionError):
        return


def _reap(child: int) -> int | None:
    """Reap every ended child; return the wait status of *child* if it is among them."""
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
