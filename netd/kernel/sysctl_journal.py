"""What was set for a link and cannot be asked of the kernel afterwards: kept in one file per link while it is there."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from netd.common import folders

Settings: TypeAlias = tuple[tuple[str, str], ...]

_log = logging.getLogger(__name__)
_LINE = re.compile(r"(?P<name>net[./](?:(?!\.\.)[^\s\ufffd])+)=(?P<value>[^=\ufffd]*)")
"""Parameters below net. only, and no way out of there."""


def read(path: Path) -> Settings:
    """Return the lines NAME=VALUE of a file; what a crash or others made unreadable is left out and logged."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        _log.warning("remembered settings lost: path=%s error=%s", path, error.strerror)
        return ()
    found = [_LINE.fullmatch(line) for line in lines]
    if None in found:
        _log.warning("remembered settings damaged: path=%s lines=%d", path, found.count(None))
    return tuple((line["name"], line["value"]) for line in found if line)


class SysctlJournal:
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
        return read(self._folder / link)

    def drop(self, link: str) -> None:
        self._folder.joinpath(link).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder if nothing is left in it."""
        with suppress(OSError):
            self._folder.rmdir()
