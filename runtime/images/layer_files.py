"""Creates and removes single files of a layer, by name in an open folder, without following links."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import NoReturn

from runtime.images.tarstream import BadArchive, Entry, shown
from runtime.kernel import openat

OPAQUE = "trusted.overlay.opaque"
"""overlayfs: the folder hides the content of the same folder in lower layers."""
_HIGHEST_MAJOR, _HIGHEST_MINOR = (1 << 12) - 1, (1 << 20) - 1
_LONGEST_LINK = 4095
_LONGEST_KEY, _LARGEST_VALUE = 255, 1 << 16
_KINDS = {"fifo": stat.S_IFIFO, "char": stat.S_IFCHR, "block": stat.S_IFBLK}

_FAULTS_OF_ARCHIVE = frozenset(
    {
        errno.E2BIG, errno.EACCES, errno.EEXIST, errno.EFBIG, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.EMLINK,
        errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EOVERFLOW, errno.EPERM, errno.ERANGE,
    }
)  # fmt: skip
"""Errors caused by the names, numbers or order of an archive's entries, not by a failing disk."""


def check(entry: Entry) -> None:
    """Raise BadArchive for an entry that is not allowed in a layer."""
    if entry.kind in _KINDS:
        major, minor = entry.device
        if entry.kind == "char" and entry.device == (0, 0):
            raise BadArchive(f"{entry.shown} is a forged overlay whiteout")
        if not (0 <= major <= _HIGHEST_MAJOR and 0 <= minor <= _HIGHEST_MINOR):
            raise BadArchive(f"{entry.shown} has an impossible device number {major}:{minor}")
    if entry.kind == "symlink" and (not entry.link or b"\0" in entry.link or len(entry.link) > _LONGEST_LINK):
        raise BadArchive(f"{entry.shown} is a symbolic link whose target is empty or longer than {_LONGEST_LINK} bytes")
    for key, value in entry.xattrs.items():
        if key.startswith(("trusted.", "user.overlay.")):
            raise BadArchive(f"{entry.shown} carries the attribute {key[:80]!r}, which is not allowed in a layer")
        if key.startswith("user.") and not _is_possible(key, value):
            raise BadArchive(f"{entry.shown} carries an attribute whose name or value is impossible: {key[:80]!r}")
    if not (0 <= entry.uid < 2**32 - 1 and 0 <= entry.gid < 2**32 - 1):
        raise BadArchive(f"{entry.shown} has an impossible owner {entry.uid}:{entry.gid}")


def _is_possible(key: str, value: bytes) -> bool:
    return key != "user." and "\0" not in key and len(key.encode()) <= _LONGEST_KEY and len(value) <= _LARGEST_VALUE


def raise_archive_error(entry: Entry, error: OSError) -> NoReturn:
    """Raise BadArchive for an OSError that the entry has caused; raise other OSErrors unchanged."""
    if error.errno not in _FAULTS_OF_ARCHIVE:
        raise error
    raise BadArchive(f"the entry {entry.shown} cannot be created: {error.strerror}") from None


def set_metadata(entry: Entry, handle: int) -> None:
    """Set owner, mode and attributes of an open file, in this order: fchown clears setuid bits."""
    status = os.fstat(handle)
    if (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
        os.fchown(handle, entry.uid, entry.gid)
    os.fchmod(handle, entry.mode)
    for key, value in entry.xattrs.items():
        if key.startswith("user.") or key == "security.capability":
            _set_xattr(entry, handle, key, value)


def _set_xattr(entry: Entry, handle: int, key: str, value: bytes) -> None:
    try:
        openat.set_xattr(handle, key, value)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # the attributes of one file have a limited size
            raise BadArchive(f"{entry.shown} carries more attributes than the file system takes") from None
        if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
            raise


def set_time(handle: int, mtime: int) -> None:
    with suppress(OSError, OverflowError):
        openat.set_time(handle, mtime)


def symlink(entry: Entry, folder: int, name: bytes) -> None:
    os.symlink(entry.link, name, dir_fd=folder)
    openat.chown(folder, name, entry.uid, entry.gid)
    _set_time_of_name(entry, folder, name)


def node(entry: Entry, folder: int, name: bytes) -> None:
    os.mknod(name, _KINDS[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=folder)
    openat.chown(folder, name, entry.uid, entry.gid)
    openat.chmod(folder, name, entry.mode)
    _set_time_of_name(entry, folder, name)


def _set_time_of_name(entry: Entry, folder: int, name: bytes) -> None:
    with suppress(OSError, OverflowError):
        openat.utime(folder, name, entry.mtime)


def is_whiteout(was: os.stat_result) -> bool:
    return stat.S_ISCHR(was.st_mode) and was.st_rdev == 0


def mark_opaque(folder: int, name: bytes) -> None:
    handle = openat.open_folder(folder, name)
    try:
        openat.set_xattr(handle, OPAQUE, b"y")
    finally:
        os.close(handle)


def no_source(entry: Entry) -> BadArchive:
    return BadArchive(f"{entry.shown} is a hard link to {shown(entry.link)}, which does not exist")
