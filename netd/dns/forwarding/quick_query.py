"""A query that is forwarded without an object of its own."""

from __future__ import annotations

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
