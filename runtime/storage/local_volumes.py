"""Options of volumes with the driver ``local``: what is mounted as the volume, as in Docker.

``type``, ``device`` and ``o`` are those of mount(8): a bind of a directory (``o=bind``), a tmpfs, a disk, nfs, cifs.
The mount is in the namespace of the daemon, because all containers that use the volume share it; it exists while one of
them runs.  Errors of the mount appear when the volume is used.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from netd.common.errors import BadRequest, ServerError
from runtime.init import mounts
from runtime.kernel import linux, openat

_KNOWN = ("type", "device", "o", "size")
_REQUIRED = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_SIZE = re.compile(r"\d+(?:\.\d+)? ?[kKmMgGtTpP]?[iI]?[bB]?\Z", re.ASCII)
_NETWORK_TYPES = ("nfs", "nfs3", "nfs4", "cifs")
_BIND, _REC = 0x1000, 0x4000
_FLAGS = {
    "defaults": 0, "rw": 0, "ro": 1, "nosuid": 2, "suid": 0, "nodev": 4, "dev": 0, "noexec": 8, "exec": 0, "sync": 16,
    "async": 0, "dirsync": 128, "noatime": 1024, "atime": 0, "nodiratime": 2048, "diratime": 0, "bind": _BIND,
    "rbind": _BIND | _REC, "relatime": 1 << 21, "norelatime": 0, "strictatime": 1 << 24, "nostrictatime": 0,
}  # fmt: skip


class LocalMount(NamedTuple):
    """The arguments of mount(2); a bind if *flags* say so."""

    device: str
    kind: str
    flags: int
    data: str


def check(name: str, options: Mapping[str, str]) -> None:
    """Raise BadRequest, with Docker's messages, for options that are unknown, incomplete or not supported."""
    for key in options:
        if key not in _KNOWN:
            raise BadRequest(f'create {name}: invalid option: "{key}"')
    if size := options.get("size"):
        if not _SIZE.match(size):
            raise BadRequest(f"create {name}: invalid size: '{size}'")
        raise BadRequest(f"create {name}: quota size requested but no quota support: use --opt type=tmpfs with o=size=")
    for key, required in _REQUIRED.items():
        for other in required:
            if options.get(key) and not options.get(other):
                raise BadRequest(f'create {name}: missing required option: "{other}"')


def plan(options: Mapping[str, str] | None) -> LocalMount | None:
    """Return what is mounted as the volume; None for a plain folder."""
    if not options or not options.get("device"):
        return None
    flags, data = 0, []
    for word in filter(None, options.get("o", "").split(",")):
        if word in _FLAGS:
            flags |= _FLAGS[word]
        else:
            data.append(word)
    return LocalMount(options["device"], options.get("type", ""), flags, ",".join(data))


def mount(wanted: LocalMount, target: Path) -> None:
    """Mount on the folder *target*, unless it is a mount point already; blocking.

    Raises ServerError with Docker's message.
    """
    if is_mounted(target):
        return
    try:
        if wanted.flags & _BIND:
            _bind(wanted, str(target))
        else:
            linux.mount(wanted.device, str(target), wanted.kind, wanted.flags, wanted.data)
    except OSError as error:
        raise ServerError(_failure(wanted, target, error)) from None


def unmount(target: Path) -> None:
    """Unmount the volume; containers that have it mounted keep it."""
    if is_mounted(target):
        linux.umount(str(target), linux.MNT_DETACH)


def is_mounted(target: Path) -> bool:
    """Return whether *target* is a mount point, also of a directory of the same file system."""
    parent = openat.open_tree_root(target.parent)
    try:
        os.close(openat.open_folder(parent, target.name))
        return False
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return True
    finally:
        os.close(parent)


def _bind(wanted: LocalMount, target: str) -> None:
    if not wanted.device.startswith("/"):
        raise FileNotFoundError(2, "No such file or directory")
    tree = mounts.bind(wanted.device, read_only=bool(wanted.flags & 1), recursive=bool(wanted.flags & _REC))
    try:
        linux.mount_setattr(tree, add=wanted.flags & 0xE)  # the flags and attributes nosuid, nodev, noexec are equal
        linux.move_mount(tree, linux.AT_FDCWD, target)
    finally:
        os.close(tree)


def host_of(wanted: LocalMount) -> str:
    """Return the name in ``addr=`` of a network file system, which the kernel does not resolve; "" without one."""
    words = wanted.data.split(",") if wanted.kind in _NETWORK_TYPES else []
    return next((word.removeprefix("addr=") for word in words if word.startswith("addr=")), "")


def with_address(wanted: LocalMount, address: str) -> LocalMount:
    """Return the mount with the IP address in place of :func:`host_of`."""
    words = [f"addr={address}" if word.startswith("addr=") else word for word in wanted.data.split(",")]
    return wanted._replace(data=",".join(words))


def _failure(wanted: LocalMount, target: Path, error: OSError) -> str:
    reason = os.strerror(error.errno or 0).lower()
    if error.errno == errno.ENODEV:
        reason += f": the kernel of this host does not support file systems of type {wanted.kind}"
    shown = f", flags: {wanted.flags:#x}" if wanted.flags else ""
    shown += f", data: {wanted.data}" if wanted.data else ""
    return (
        f"error while mounting volume '{target}': failed to mount local volume: mount {wanted.device}:{target}{shown}:"
        f" {reason}"
    )
