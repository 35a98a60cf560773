"""Sysctl settings on disk, in files of lines NAME=VALUE.

Owns the folder of the sysctls that were set inside pairs, one file per link while the link exists: the kernel does not
record which parameters were set.  Must not write sysctls.
"""

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
"""Names below net. only, without "..": a damaged file must not reach other parameters."""


def read(path: Path) -> Settings:
    """Return the lines NAME=VALUE of a file.  Unreadable files and damaged lines are skipped and logged."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        _log.warning("recorded sysctls are unreadable: path=%s error=%s", path, error.strerror)
        return ()
    found = [_LINE.fullmatch(line) for line in lines]
    if None in found:
        _log.warning("recorded sysctls are damaged: path=%s lines=%d", path, found.count(None))
    return tuple((line["name"], line["value"]) for line in found if line)


class SysctlJournal:
    """One folder, which exists while it has entries."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, link: str, settings: Settings) -> None:
        if settings:
            folders.make(self._folder, folders.PRIVATE)
            self._folder.joinpath(link).write_text("".join(f"{name}={value}\n" for name, value in settings))
        else:
            self.delete(link)

    def get(self, link: str) -> Settings:
        return read(self._folder / link)

    def delete(self, link: str) -> None:
        self._folder.joinpath(link).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder if it is empty."""
        with suppress(OSError):
            self._folder.rmdir()
