"""Exceptions that end a call of netctl, each with the message for the user and the exit code."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Fault(Exception):
    """An error to print as ``netctl: <message>``.

    Exit codes are Docker's: 1; 125 for an invalid command line; 125 to 127 for ``run``; 126 and 127 for ``exec``.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    def explained(self) -> str:
        """Return the message for the user, with what is known beyond the message itself."""
        return self.message


class UsageFault(Fault):
    """The command line is invalid; no request was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 125)


class UnknownFlag(UsageFault):
    """A flag that the verb does not have; ``flag`` is its long name."""

    def __init__(self, flag: str, suggestion: str) -> None:
        super().__init__(f"unknown flag: --{flag}{suggestion}")
        self.flag = flag


class ApiFault(Fault):
    """The daemon answered with an error status; the message is the daemon's."""

    def __init__(self, message: str, status: int, explain: Callable[[str], str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self._explain = explain

    def explained(self) -> str:
        """Return the message, with the nearest name if there is no object of the given name."""
        return self._explain(self.message) if self._explain and self.status == 404 else self.message


class Unreachable(Fault):
    """No daemon listens on the socket."""


class SessionInterrupted(Exception):
    """A signal ended an attached session; the container keeps running and no message is printed."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


_LONGEST_MESSAGE = 4_000
"""Characters of an error or a warning; files and daemons choose what it quotes."""


def for_terminal(message: str) -> str:
    """Return a message with control characters except line breaks and tabs escaped; a long one loses its middle."""
    if len(message) > _LONGEST_MESSAGE:
        half = _LONGEST_MESSAGE // 2
        message = f"{message[:half]} […] {message[-half:]}"
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in message)


def daemon_disconnected(consequence: str) -> Fault:
    """Return the fault for a connection that the daemon closed during a session; *consequence* ends the message."""
    return Fault(f"lost the connection to the daemon; {consequence}", 125)
