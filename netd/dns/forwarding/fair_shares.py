"""Fair limits for pending queries of containers.  Pure."""

from __future__ import annotations

from collections import Counter


class Shares:
    """Counts per container, with a limit per container and one for the total.

    At the total limit, the container with the highest count must drop a query, so a container with few is never
    refused because of others.
    """

    def __init__(self, max_total: int, max_each: int) -> None:
        self._max_total = max_total
        self._max_each = max_each
        self._counts: Counter[str] = Counter()
        self._total = 0

    def __getitem__(self, container: str) -> int:
        return self._counts[container]

    def container_to_drop(self, container: str) -> str | None:
        """Return the container that must drop a query before *container* may begin one; None below the limits."""
        if self._counts[container] >= self._max_each:
            return container
        if self._total < self._max_total:
            return None
        return max(self._counts, key=lambda other: (self._counts[other], other == container))

    def begin_if_free(self, container: str) -> bool:
        """Begin a query, if no limit is reached."""
        counts = self._counts
        count = counts[container]
        if count >= self._max_each or self._total >= self._max_total:
            return False
        counts[container] = count + 1
        self._total += 1
        return True

    def begin(self, container: str) -> None:
        self._counts[container] += 1
        self._total += 1

    def end(self, container: str, count: int = 1) -> None:
        """Subtract *count* queries."""
        self._counts[container] -= count
        self._total -= count
        if not self._counts[container]:
            del self._counts[container]
