"""Expected reachability, as tables.

A published port is requested at the host's uplink address unless the row names another.  Every cell holds for tcp and
udp, and for IPv4 and IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from netd.common.addresses import FAMILIES, Family


class Outcome(StrEnum):
    OWN = "sees the client's own address"
    GATEWAY = "sees the gateway of its network"
    """The server sees a gateway's address, where a reply to the client's own address would take another path."""
    REFUSED = "refused by the host"
    SILENT = "dropped silently"
    NO_ROUTE = "the client has no way there"


OWN, GATEWAY, REFUSED, SILENT, NO_ROUTE = Outcome

PUBLISHED_ON = ("every address", "one address", "loopback")
"""Every address is 0.0.0.0 and ::, one address the uplink's, loopback 127.0.0.1 and ::1."""

PUBLISHED: dict[str, tuple[Outcome, Outcome, Outcome]] = {
    "another host": (OWN, OWN, REFUSED),
    "the host": (OWN, OWN, REFUSED),
    "the host by 127.0.0.1": (GATEWAY, REFUSED, GATEWAY),
    "the host by ::1": (GATEWAY, REFUSED, GATEWAY),
    "a container of the same network": (GATEWAY, GATEWAY, REFUSED),
    "a container of another network": (OWN, OWN, REFUSED),
    "the container itself": (GATEWAY, GATEWAY, REFUSED),
}

DIRECT: dict[tuple[str, str], Outcome] = {
    ("another host", "a port that is not published"): SILENT,
    ("another host", "a published port"): SILENT,
    ("another host", "an internal network"): SILENT,
    ("the host", "a port that is not published"): GATEWAY,
    ("the host", "an internal network"): GATEWAY,
    ("a container of the same network", "a port that is not published"): OWN,
    ("a container of another network", "a port that is not published"): SILENT,
    ("a container of another network", "a published port"): SILENT,
    ("a container of another network", "an internal network"): SILENT,
    ("an internal network", "a port that is not published"): NO_ROUTE,
    ("an internal network", "a published port"): NO_ROUTE,
    ("an internal network", "another host"): NO_ROUTE,
    ("an internal network, by a route of its own", "a published port"): SILENT,
    ("an internal network, by a route of its own", "another host"): SILENT,
}
"""Requests to the container's own address, to which the client has a route unless the row says otherwise."""

INTERNAL: dict[str, tuple[Outcome, Outcome]] = {
    "another host": (SILENT, REFUSED),
    "the host": (SILENT, REFUSED),
    "the host by 127.0.0.1": (GATEWAY, GATEWAY),
    "the host by ::1": (GATEWAY, GATEWAY),
    "a container of another network": (SILENT, REFUSED),
}
"""Ports of a container on an internal network, published on every address, and on loopback.

The container has no route to addresses outside its network.
"""


@dataclass(frozen=True, slots=True)
class Cell:
    client: str
    to: str
    protocol: str
    family: Family
    must: Outcome
    table: str

    def __str__(self) -> str:
        return f"{self.table}: {self.client} to {self.to}, {self.protocol} over IPv{self.family}"


def _fits(client: str, family: Family) -> bool:
    return not client.endswith("127.0.0.1" if family == 6 else "::1")


def cells() -> list[Cell]:
    """Return every cell, for both protocols and both families."""
    found = []
    for protocol, family in product(("tcp", "udp"), FAMILIES):
        for name, table, columns in (
            ("published", PUBLISHED, PUBLISHED_ON),
            ("internal", INTERNAL, ("every address", "loopback")),
        ):
            for client, row in table.items():
                for to, must in zip(columns, row, strict=True):
                    if _fits(client, family):
                        found.append(Cell(client, to, protocol, family, must, name))
        for (client, to), must in DIRECT.items():
            found.append(Cell(client, to, protocol, family, must, "direct"))
    return found
