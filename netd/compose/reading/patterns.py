"""Tables of paths with wildcards: ``services.*.ports.*.target``.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from netd.compose.errors import Path

T = TypeVar("T")


class PathTable(Generic[T]):
    """Values found by path; ``*`` stands for one key or index, and an exact key takes precedence over it."""

    def __init__(self, rows: Mapping[str, T]) -> None:
        self._rows: dict[tuple[str, ...], T] = {tuple(pattern.split(".")): value for pattern, value in rows.items()}
        self._lengths = {len(pattern) for pattern in self._rows}

    def get(self, path: Path) -> T | None:
        if len(path) not in self._lengths:
            return None
        return next((value for pattern, value in self._rows.items() if matches(pattern, path)), None)


def matches(pattern: tuple[str, ...], path: Path) -> bool:
    return len(pattern) == len(path) and all(word in ("*", key) for word, key in zip(pattern, path, strict=True))


def children(value: object) -> Iterator[tuple[str | int, object]]:
    """Yield the keys or indexes of a collection with their values, from a copy; nothing for scalars."""
    if isinstance(value, dict):
        yield from list(value.items())
    elif isinstance(value, list):
        yield from list(enumerate(value))
