"""Exceptions whose messages reach clients, by kind.

Each class carries the HTTP status that Docker's API uses for its kind; only :mod:`netd.common.http.web` turns those
that a request handler raises into responses.  A message is one sentence, lower case, without a full stop: the thing,
the fault, and the remedy if there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netd.nearest_names import nearest


def join_faults(faults: Sequence[str]) -> str:
    """Return a single fault unchanged, several as a bulleted list, in Docker's format."""
    return faults[0] if len(faults) == 1 else "\n".join(f"* {fault}" for fault in faults)


class Problem(Exception):
    """An error whose message is sent to the client."""

    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(Problem):
    """The request is invalid."""

    status = 400


class Forbidden(Problem):
    """The request is valid but not permitted."""

    status = 403


class NotFound(Problem):
    """The named object does not exist."""

    status = 404


class Conflict(Problem):
    """The current state does not permit the request."""

    status = 409


class RequestTimeout(Problem):
    """The client stopped sending the request body."""

    status = 408


class NotModified(Problem):
    """The object is already in the requested state; the response has no body."""

    status = 304


class ServerError(Problem):
    """A valid request failed; Docker answers 500 for many such failures."""

    status = 500


class KernelRefused(ServerError):
    """The kernel refused an operation; ``errno`` is its error number, 0 if unknown."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class NotImplementedYet(Problem):
    """A call of Docker's API that is not implemented."""

    status = 501


class Unavailable(Problem):
    """A required process or resource is not available."""

    status = 503


class NoSpace(Problem):
    """The disk of the state directory is full; nothing was changed."""

    status = 507


class ReadOnly(Unavailable):
    """The disk of the state directory is not writable; nothing was changed."""


def no_driver(name: str, known: Iterable[str]) -> NotFound:
    """Return Docker's error for a driver that is not installed, with the names of those that are."""
    names = sorted(known)
    near = nearest(name, names)
    hint = f"did you mean {near}? " if near else ""
    return NotFound(f'plugin "{name}" not found: {hint}the drivers are {", ".join(names)}')
