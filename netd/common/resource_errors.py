"""Operating system errors that mean an exhausted resource, and the Problems that clients get for them.

Only this module turns such errors into Problems.  The request itself is valid: it can succeed once the resource is
available again.
"""

from __future__ import annotations

import errno

from netd.common.errors import NoSpace, Problem, ReadOnly, Unavailable

_KINDS: dict[int, tuple[type[Problem], str]] = {
    errno.ENOSPC: (NoSpace, "the disk is full; free some space and try again"),
    errno.EDQUOT: (NoSpace, "the disk quota is used up; free some space and try again"),
    errno.EROFS: (ReadOnly, "the disk is read-only; make it writable and try again"),
    errno.EMFILE: (
        Unavailable,
        "this daemon has no file descriptor left; stop some containers or raise its limit (LimitNOFILE), and try again",
    ),
    errno.ENFILE: (Unavailable, "the system has no file descriptor left; raise fs.file-max and try again"),
    errno.ENOMEM: (Unavailable, "the system is out of memory; free some and try again"),
    errno.ENOBUFS: (Unavailable, "the kernel has no buffer space left; try again"),
    errno.EAGAIN: (
        Unavailable,
        "no further process or thread can be started; stop some or raise the limit (TasksMax), and try again",
    ),
}
_NO_THREAD = "can't start new thread"


def problem(error: BaseException, what: str) -> Problem | None:
    """Return the Problem for *error*, which prevented *what*; None if *error* is no resource exhaustion."""
    number = errno.EAGAIN if _NO_THREAD in str(error) else getattr(error, "errno", None)
    found = _KINDS.get(number) if number is not None else None
    if isinstance(error, Problem) or found is None:
        return None
    kind, reason = found
    return kind(f"{what}: {reason}")


def is_shortage(error: BaseException) -> bool:
    """Return whether the same request may succeed later because *error* is a temporary shortage."""
    return isinstance(error, NoSpace | Unavailable) or problem(error, "") is not None
