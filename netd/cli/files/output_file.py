"""Archives that are written to a file or to standard output; a file exists only when it is complete."""

from __future__ import annotations

import os
import sys

from netd.cli.errors import Fault
from netd.cli.signal_waits import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def check(path: str) -> None:
    """Raise Fault if *path* is "", for standard output, and that is a terminal."""
    if not path and os.isatty(1):
        raise Fault("cowardly refusing to save to a terminal. Use the -o flag or redirect")


def write(path: str, chunks: Iterable[bytes]) -> None:
    """Write *chunks* to the file *path*, or to standard output if it is "".

    A new file replaces a regular file when it is complete; devices and pipes are written to.  Only its owner may read
    the file, because archives can contain secrets.
    """
    if not path:
        sys.stdout.flush()
        write_to(1, chunks)
        return
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as device:
            write_to(device.fileno(), chunks)
        return
    unfinished = f"{path}.unfinished-{os.getpid()}"
    try:
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            write_to(file.fileno(), chunks)
        os.replace(unfinished, path)
    except BaseException:
        if os.path.lexists(unfinished):
            os.unlink(unfinished)
        raise


def write_to(fd: int, chunks: Iterable[bytes]) -> None:
    """Write all *chunks* to a descriptor."""
    for data in chunks:
        write_all(fd, data)
