"""Where the values of a merged document come from."""

from __future__ import annotations

from collections.abc import Mapping

from netd.compose.errors import ComposeError, Path, Position


class Positions:
    """Positions of paths in all files that were read; for a path that is in several files the last one counts."""

    def __init__(self) -> None:
        self._tables: list[Mapping[Path, Position]] = []

    def add(self, table: Mapping[Path, Position]) -> None:
        self._tables.append(table)

    def find(self, path: Path) -> Position | None:
        """Return the position of *path*, or of its nearest ancestor that is in a file."""
        for length in range(len(path), -1, -1):
            for table in reversed(self._tables):
                found = table.get(path[:length])
                if found and (length or len(self._tables) == 1):
                    return found
        return None

    def error(self, path: Path, reason: str) -> ComposeError:
        return ComposeError(reason, path, self.find(path))
