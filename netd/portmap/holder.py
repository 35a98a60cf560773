"""How the choice of host ports asks the host: which ports its programs have, and keeping ports from them.

Pure: the contract, which ``kernel`` implements with sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol

from netd.common.addresses import Address
from netd.model import Publication

HOLD_LIMIT = 64
"""Longer runs of ports are checked and not held, so that a range of thousands costs no descriptors."""


class InUse(Exception):
    """A program of the host has the port."""

    def __init__(self, address: Address, port: int, protocol: str, owner: Callable[[], str]) -> None:
        """*owner* names the program; it looks at every process and is called only when a message needs the name."""
        super().__init__(f"failed to bind host port {address}:{port}/{protocol}: address already in use")
        self._owner = owner

    def explained(self) -> str:
        """Return the message with the program that has the port."""
        return f"{self}: held by {self._owner()}"


class PortHolder(Protocol):
    """Holds ports of the host, so that no program of the host gets them."""

    def ephemeral(self) -> tuple[int, int, frozenset[int]]:
        """Return the first and last port of the range to choose from, and the ports in it that are reserved."""
        ...

    def hold(self, wanted: Publication) -> None:
        """Hold every port of *wanted*, or none and raise InUse; more than HOLD_LIMIT ports are only checked."""
        ...

    def release(self, given: Publication, but: Container[int] = ()) -> None:
        """Release the ports of *given* that are held, except those in *but*."""
        ...

    def close(self) -> None:
        """Release all ports."""
        ...
