"""The only place that reads files of a project.  Sizes are bounded, and anything but a regular file is refused."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from netd.compose.errors import ComposeError

COMPOSE_FILE = 8 << 20
ENV_FILE = 4 << 20
"""Largest sizes, in bytes."""


def read_text(path: Path, largest: int, what: str) -> str:
    """Return the text of a file.  Raises ComposeError; *what* names the kind of the file in it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ComposeError(f"{what} {path} does not exist: correct the path") from None
    except OSError as error:
        raise ComposeError(f"{what} {path} cannot be read ({error.strerror}): correct path or permissions") from None
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise ComposeError(f"{what} {path} is a directory: name a file")
        if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
            raise ComposeError(f"{what} {path} is no regular file: name another")
        os.set_blocking(handle, True)
        with open(handle, "rb", closefd=False) as file:
            return _decode(file.read(largest + 1), path, largest, what)
    finally:
        os.close(handle)


def read_standard_input() -> str:
    """Return the compose file on standard input."""
    return _decode(sys.stdin.buffer.read(COMPOSE_FILE + 1), Path("-"), COMPOSE_FILE, "the compose file")


def _decode(data: bytes, path: Path, largest: int, what: str) -> str:
    if len(data) > largest:
        raise ComposeError(f"{what} {path} is larger than {largest >> 20} MiB: split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ComposeError(
            f"{what} {path} is no UTF-8 text (byte {error.start}): name a text file or convert it"
        ) from None


def is_file(path: Path) -> bool:
    return path.is_file()
