"""Fair bounds on what containers have under way.  Pure."""

from __future__ import annotations

from collections import Counter


class Shares:
    """Counts per container, bounded for each container and for all of them together.

    A container that has the most gives way when the total is reached, so a container that has few is never refused
    because of others.
    """

    def __init__(self, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._held: Counter[str] = Counter()
        self._total = 0

    def __getitem__(self, container: str) -> int:
        return self._held[container]

    def who_gives_way(self, container: str) -> str | None:
        """Return the container that must drop something before *container* may begin; None when there is room."""
        if self._held[container] >= self._most_each:
            return container
        if self._total < self._most:
            return None
        return max(self._held, key=lambda other: (self._held[other], other == container))

    def begin(self, container: str) -> None:
        self._held[container] += 1
        self._total += 1

    def end(self, container: str, count: int = 1) -> None:
        """Take back *count* of what was begun."""
        self._held[container] -= count
        self._total -= count
        if not self._held[container]:
            del self._held[container]
