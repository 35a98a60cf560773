"""What can go wrong, told by whose fault it is.

Each class carries the HTTP status that Docker's API uses for its kind; only the HTTP front
turns one into a response.  A message is one sentence, lower case, without a full stop, that
names the thing and, where there is one, the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence


def join_faults(faults: Sequence[str]) -> str:
    """Return one fault as it is, several as a list, as Docker writes them."""
    return faults[0] if len(faults) == 1 else "\n".join(f"* {fault}" for fault in faults)


class Problem(Exception):
    """An error whose message is meant for the person who made the request."""

    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(Problem):
    """The request can never work as it stands."""

    status = 400


class Forbidden(Problem):
    """The request is understood and refused by a rule."""

    status = 403


class NotFound(Problem):
    """The thing named does not exist."""

    status = 404


class Conflict(Problem):
    """The state does not allow it now."""

    status = 409


class RequestTimeout(Problem):
    """The client has stopped sending the body of its request."""

    status = 408


class NotModified(Problem):
    """Already so; the answer has no body."""

    status = 304


class ServerError(Problem):
    """The request was fine and could not be done; Docker answers 500 for many of these."""

    status = 500


class KernelRefused(ServerError):
    """The kernel said no.  ``errno`` is its reason."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class NotImplementedYet(Problem):
    """A call of the API that is not there yet."""

    status = 501


class Unavailable(Problem):
    """A part we need is not running or does not answer."""

    status = 503


class NoSpace(Problem):
    """The disk that holds the state is full; nothing was changed."""

    status = 507


class ReadOnly(Unavailable):
    """The disk that holds the state cannot be written; nothing was changed."""
