"""The id of the request that is being handled.

It is in each log line, in a header of the response, and in the calls that the request causes at the other daemon.
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar

HEADER = "X-Request-Id"
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z", re.ASCII)
_current: ContextVar[str] = ContextVar("request_id", default="")


def begin(given: str) -> str:
    """Set the id for the running task: *given* if it is one word of at most 64 characters, else a new one."""
    found = given if _SAFE.match(given) else os.urandom(4).hex()
    _current.set(found)
    return found


def current() -> str:
    """Return the id of the running task's request; "" outside requests."""
    return _current.get()
