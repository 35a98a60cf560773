"""Opens paths below a folder so that no symbolic link, however made, leads out of it."""

from __future__ import annotations

import ctypes
import os

from runtime.kernel import linux

_libc = ctypes.CDLL(None, use_errno=True)


def open_in(root: int, path: bytes, flags: int, *, links: bool = True) -> int:
    """Open *path* as if *root* were ``/``; with *links* false, a symbolic link on the way is an error.

    Raises OSError as open does.
    """
    resolve = linux.IN_ROOT | linux.NO_MAGICLINKS | (0 if links else linux.NO_SYMLINKS)
    return linux.openat2(root, os.fsdecode(path or b"."), flags, resolve)


def syncfs(handle: int) -> None:
    """Bring the file system of *handle* to the disk."""
    if _libc.syncfs(handle):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
