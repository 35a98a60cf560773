"""The contract for holding host ports, so that programs of the host cannot bind them.

Pure; implemented in ``netd.kernel.ports`` with sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol

from netd.common.addresses import Address
from netd.model import Publication

HOLD_LIMIT = 64
"""Longer runs of ports are checked but not held, so that a range of thousands uses no descriptors."""


class InUse(Exception):
    """A program of the host has bound the port."""

    def __init__(self, address: Address, port: int, protocol: str, owner: Callable[[], str]) -> None:
        """*owner* returns the program's name; it scans all processes and is called for messages only."""
        super().__init__(f"failed to bind host port {address}:{port}/{protocol}: address already in use")
        self._owner = owner

    def explained(self) -> str:
        """Return the message with the name of the program."""
        return f"{self}: held by {self._owner()}"


class PortHolder(Protocol):
    """Holds ports of the host, so that programs of the host cannot bind them."""

    def ephemeral(self) -> tuple[int, int, frozenset[int]]:
        """Return the first and last ephemeral port of the kernel, and the reserved ports among them."""
        ...

    def hold(self, publication: Publication) -> None:
        """Hold all ports of *publication*, or none and raise InUse; more than HOLD_LIMIT ports are only checked."""
        ...

    def release(self, publication: Publication, keep: Container[int] = ()) -> None:
        """Release the held ports of *publication*, except those in *keep*."""
        ...

    def close(self) -> None:
        """Release all ports."""
        ...
