"""Leases: layers that a running pull, load, commit or build uses, and that no prune may delete.  In memory only."""

from __future__ import annotations

from collections import Counter


class Lease:
    """The layers of one operation.  Made and ended by ``Images.lease``; changed in the event loop's thread only."""

    def __init__(self, held: Counter[str]) -> None:
        self._held = held
        self._chains: set[str] = set()

    def add(self, chain: str) -> None:
        """Hold the layer with this chain id, which need not exist yet."""
        if chain not in self._chains:
            self._chains.add(chain)
            self._held[chain] += 1

    def close(self) -> list[str]:
        """Release all layers; return those that no other lease holds."""
        free = []
        for chain in self._chains:
            self._held[chain] -= 1
            if self._held[chain] <= 0:
                del self._held[chain]
                free.append(chain)
        self._chains.clear()
        return free
