"""A query that is forwarded without an object of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from netd.dns.sandbox import ServedSandbox

if TYPE_CHECKING:
    from netd.dns.forwarding.query_routes import Route


class QuickQuery(NamedTuple):
    """A plain query over UDP whose response is pending."""

    sent: bytes
    """The packet that was sent, without its id, in random case."""
    question: bytes
    """The packet of the client, without its id."""
    name_end: int
    """The offset after the name in both."""
    key: bytes
    """The question with its name in lower case; equal for equal queries."""
    sandbox: ServedSandbox
    client: bytes
    """The client's struct sockaddr_in, and the id of its query."""
    route: Route
    begun: float
    """Monotonic seconds."""


new_query: Callable[[tuple[bytes, bytes, int, bytes, ServedSandbox, bytes, Route, float]], QuickQuery]
new_query = partial(tuple.__new__, QuickQuery)
"""Return a query of the values in a tuple: three times as fast as the constructor."""
