"""Subvolumes of btrfs: create, snapshot, delete, limit.  ioctls: include/uapi/linux/btrfs.h.

Every subvolume is named by its parent folder, a path that only the daemon can change, and its name.  All raise OSError.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress

from runtime.kernel import linux, openat

_MAGIC = 0x9123683E
_SUBVOL_CREATE, _SNAP_DESTROY, _SNAP_CREATE_V2 = 0x5000940E, 0x5000940F, 0x50009417
_QUOTA_CTL, _QGROUP_LIMIT = 0xC0109428, 0x8030942B
_QUOTA_ENABLE, _LIMIT_EXCLUSIVE = 1, 2

Folder = str | os.PathLike[str]


def is_btrfs(path: Folder) -> bool:
    handle = openat.open_tree_root(path)
    try:
        return linux.filesystem_type(handle) == _MAGIC
    finally:
        os.close(handle)


def create(parent: Folder, name: str) -> None:
    _call(parent, _SUBVOL_CREATE, struct.pack("q4088s", 0, os.fsencode(name)))


def snapshot(source: Folder, parent: Folder, name: str) -> None:
    """Create a writable snapshot of the subvolume *source*."""
    handle = openat.open_tree_root(source)
    try:
        _call(parent, _SNAP_CREATE_V2, struct.pack("qQQ4Q4040s", handle, 0, 0, 0, 0, 0, 0, os.fsencode(name)))
    finally:
        os.close(handle)


def destroy(parent: Folder, name: str) -> None:
    """Delete a subvolume with its files.  Raises ENOTEMPTY if it contains subvolumes."""
    _call(parent, _SNAP_DESTROY, struct.pack("q4088s", 0, os.fsencode(name)))


def limit(subvolume: Folder, size: int) -> None:
    """Limit the data that belongs to the subvolume alone to *size* bytes; enables quotas of the file system."""
    with suppress(FileExistsError):
        _call(subvolume, _QUOTA_CTL, struct.pack("QQ", _QUOTA_ENABLE, 0))
    _call(subvolume, _QGROUP_LIMIT, struct.pack("6Q", 0, _LIMIT_EXCLUSIVE, 0, size, 0, 0))


def _call(folder: Folder, request: int, argument: bytes) -> None:
    handle = openat.open_tree_root(folder)
    try:
        fcntl.ioctl(handle, request, bytearray(argument))
    finally:
        os.close(handle)
