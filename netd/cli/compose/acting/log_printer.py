"""Prints lines of several containers, each with the name of its container in the container's colour."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_COLOURS = ("36", "33", "32", "35", "34", "36;1", "33;1", "32;1", "35;1", "34;1")


class LogPrinter:
    """*prefix* is whether names are printed.  Output of programs is written as it is: it may use the terminal."""

    def __init__(self, *, colours: bool, prefix: bool = True) -> None:
        self._coloured, self._prefix = colours, prefix
        self._colours: dict[str, str] = {}
        self._width = 0

    def register(self, names: Iterable[str]) -> None:
        """Reserve colours, and room for the longest name."""
        for name in names:
            self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            self._width = max(self._width, len(name))

    def line(self, name: str, text: bytes, *, error: bool = False) -> None:
        self.register((name,))
        head = f"{name.ljust(self._width + 1)} | " if self._prefix else ""
        if head and self._coloured:
            head = f"\x1b[{self._colours[name]}m{head}\x1b[0m"
        _write(2 if error else 1, head.encode() + text + b"\n")

    def status(self, name: str, text: str) -> None:
        """Print a line about a container."""
        self.register((name,))
        shown = f"\x1b[{self._colours[name]}m{name} {text}\x1b[0m" if self._coloured else f"{name} {text}"
        _write(1, f"{shown}\n".encode())

    @staticmethod
    def output(text: str) -> None:
        """Print a line about the whole session to standard output; nothing for an empty text."""
        if text:
            _write(1, f"{text}\n".encode())

    def note(self, text: str) -> None:
        """Print a line about the whole session to standard error."""
        if text:
            _write(2, f"{text}\n".encode())


def _write(descriptor: int, data: bytes) -> None:
    from netd.cli.signal_waits import write_all

    (sys.stdout if descriptor == 1 else sys.stderr).flush()
    write_all(descriptor, data)


def display_name(container: str, project: str) -> str:
    """Return the name of a container without that of its project."""
    for separator in "-_":
        if container.startswith(f"{project}{separator}"):
            return container[len(project) + 1 :]
    return container
