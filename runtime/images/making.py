"""Makes single files of a layer, each by its name in an open folder, none followed: the hands of the unpacker."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress

from runtime.images.tarstream import BadArchive, Entry

_OPAQUE = "trusted.overlay.opaque"
_REAL = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def check(entry: Entry) -> None:
    if entry.kind == "char" and entry.device == (0, 0):
        raise BadArchive(f"{entry.shown} is a forged overlay whiteout")
    for key in entry.xattrs:
        if key.startswith(("trusted.", "user.overlay.")):
            raise BadArchive(f"{entry.shown} carries the attribute {key}, which no layer may have")
    if not (0 <= entry.uid < 2**32 - 1 and 0 <= entry.gid < 2**32 - 1):
        raise BadArchive(f"{entry.shown} has an impossible owner {entry.uid}:{entry.gid}")


def own(entry: Entry, folder: int, name: bytes) -> None:
    """Set owner, mode, attributes and time, in this order: a change of owner takes setuid bits away."""
    os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
    if entry.kind == "symlink":
        with suppress(OSError, OverflowError):
            os.utime(name, ns=ns(entry.mtime), dir_fd=folder, follow_symlinks=False)
        return
    os.chmod(name, entry.mode, dir_fd=folder)
    if entry.kind in ("file", "directory") and entry.xattrs:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            set_xattrs(entry, handle)
        finally:
            os.close(handle)
    if entry.kind != "directory":
        with suppress(OSError, OverflowError):
            os.utime(name, ns=ns(entry.mtime), dir_fd=folder, follow_symlinks=False)


def set_xattrs(entry: Entry, handle: int) -> None:
    for key, value in entry.xattrs.items():
        if key.startswith("user.") or key == "security.capability":
            try:
                os.setxattr(handle, key, value)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                    raise


def touch(handle: int, mtime: float) -> None:
    with suppress(OSError, OverflowError):
        os.utime(handle, ns=ns(mtime))


def ns(mtime: float) -> tuple[int, int]:
    moment = int(mtime * 10**9)
    return (moment, moment)


def symlink(entry: Entry, folder: int, name: bytes) -> None:
    if not entry.link or b"\0" in entry.link:
        raise BadArchive(f"{entry.shown} is a symbolic link to nothing")
    remove(folder, name, lstat(folder, name))
    os.symlink(entry.link, name, dir_fd=folder)


def node(entry: Entry, folder: int, name: bytes) -> None:
    kinds = {"fifo": stat.S_IFIFO, "char": stat.S_IFCHR, "block": stat.S_IFBLK}
    remove(folder, name, lstat(folder, name))
    os.mknod(name, kinds[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=folder)


def write(handle: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]


def text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")


def lstat(folder: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def remove(folder: int, name: bytes, was: os.stat_result | None) -> None:
    """Take away what a later entry replaces."""
    if was is None:
        return
    if stat.S_ISDIR(was.st_mode):
        shutil.rmtree(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def is_whiteout(was: os.stat_result) -> bool:
    return stat.S_ISCHR(was.st_mode) and was.st_rdev == 0


def mark_opaque(folder: int, name: bytes) -> None:
    handle = os.open(name, _REAL, dir_fd=folder)
    try:
        os.setxattr(handle, _OPAQUE, b"y")
    finally:
        os.close(handle)


def no_source(entry: Entry) -> BadArchive:
    return BadArchive(
        f"{entry.shown} is a hard link to {entry.link.decode(errors='backslashreplace')}, which is not there"
    )
