"""What ends a call of netctl: one sentence for the person, and the exit code for the program that called."""

from __future__ import annotations


class Fault(Exception):
    """An error to print as ``netctl: <message>``.  Exit codes are Docker's: 1, or 125 to 127 for ``run``."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class UsageFault(Fault):
    """The words on the command line make no sense; nothing was asked of a daemon."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 125)


class ApiFault(Fault):
    """The daemon refused; the message is the daemon's own."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(Fault):
    """No daemon answers at the socket."""


class Left(Exception):
    """A signal ended our part of a session; the container goes on and there is nothing to explain."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


def daemon_gone(what: str) -> Fault:
    return Fault(f"the daemon went away; {what}", 125)
