"""What was set for a link and cannot be asked of the kernel afterwards: kept in one file per link while it is there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from netd.common import folders

Settings: TypeAlias = tuple[tuple[str, str], ...]


class Memory:
    """Owns one folder, which is there while something is remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, link: str, settings: Settings) -> None:
        if settings:
            folders.make(self._folder, folders.PRIVATE)
            self._folder.joinpath(link).write_text("".join(f"{name}={value}\n" for name, value in settings))
        else:
            self.drop(link)

    def get(self, link: str) -> Settings:
        try:
            lines = self._folder.joinpath(link).read_text().splitlines()
        except FileNotFoundError:
            return ()
        return tuple((name, value) for name, _, value in (line.partition("=") for line in lines))

    def drop(self, link: str) -> None:
        self._folder.joinpath(link).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder if nothing is left in it."""
        with suppress(OSError):
            self._folder.rmdir()
