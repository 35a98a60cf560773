"""The error of a compose file, with its position."""

from __future__ import annotations

from typing import NamedTuple

Path = tuple[str | int, ...]
"""Keys and indexes from the top of a document."""


class Position(NamedTuple):
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int


class ComposeError(Exception):
    """A compose file or a project that cannot be used.

    ``str()`` is one sentence: file, line and column where they are known, path in the document, fault and remedy.
    """

    def __init__(self, reason: str, path: Path = (), position: Position | None = None) -> None:
        self.reason = reason
        self.path = path
        self.position = position
        place = f"{position.file}:{position.line}:{position.column}: " if position else ""
        super().__init__(f"{place}{dotted(path)}: {reason}" if path else f"{place}{reason}")


def dotted(path: Path) -> str:
    """Return ``services.web.ports[0]`` for a path."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")
