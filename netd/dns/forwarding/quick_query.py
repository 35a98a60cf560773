"""A query that is forwarded without objects of its own, and the interface of its handler to the UDP ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from netd.dns.sandbox import ServedSandbox

if TYPE_CHECKING:
    from netd.dns.forwarding.query_routes import Route
    from netd.dns.forwarding.udp_ports import Port, Query, UdpPorts


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


class QuickHandler(Protocol):
    """Called by ``UdpPorts``."""

    def answered(self, query: QuickQuery, packet: bytes, now: float) -> bool:
        """Called with each packet from the server that has the query's id; returns whether the query has ended."""

    def handed_over(self, query: QuickQuery, ports: UdpPorts, port: Port, query_id: bytes) -> Query:
        """Return the object that handles the query from now on, which ``answered`` has not ended."""

    def refused(self, query: QuickQuery) -> None:
        """Called if an ICMP error has arrived for the port; no response follows."""
