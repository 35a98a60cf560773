"""Removes from an upper folder what the runtime created for a container's mounts, and the program did not use."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Sequence
from pathlib import Path

from runtime.build.files import roots
from runtime.images import layer_files
from runtime.kernel import openat
from runtime.storage import runtime_files

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove(upper: Path, layers: Sequence[str], targets: Sequence[str]) -> None:
    """Delete empty mount points from *upper* that the image with *layers*, bottom first, does not have; blocking.

    *targets* are the targets of the container's own mounts; folders above them that are empty and not of the image are
    deleted too.
    """
    top = openat.open_tree_root(upper)
    try:
        if not layers:
            _remove_all(top, -1, targets)
            return
        with roots.readable(layers) as image:
            _remove_all(top, image, targets)
    finally:
        os.close(top)


def _remove_all(top: int, image: int, targets: Sequence[str]) -> None:
    paths = {os.fsdecode(path) for path in (*runtime_files.FILES, *runtime_files.FOLDERS)}
    for target in targets:
        path = target
        while path != "/":
            paths.add(path)
            path = posixpath.dirname(path)
    for path in sorted(paths, key=lambda path: path.count("/"), reverse=True):
        _remove_if_unchanged(top, path, _status(image, path) if image >= 0 else None)


def _status(image: int, path: str) -> os.stat_result | None:
    try:
        handle = openat.open_in(image, os.fsencode(path), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.fstat(handle)
    finally:
        os.close(handle)


def _remove_if_unchanged(top: int, path: str, below: os.stat_result | None) -> None:
    """Delete an empty file that the image lacks, or an empty folder that is in the image, with the same metadata."""
    above, name = posixpath.split(path.strip("/"))
    try:
        folder = openat.open_in(top, os.fsencode(above), _FOLDER, links=False)
    except OSError:
        return
    try:
        status = openat.lstat(folder, name)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode):
            if _is_plain(folder, name) and (below is None or _metadata(status) == _metadata(below)):
                os.rmdir(name, dir_fd=folder)
        elif below is not None:
            return
        elif (stat.S_ISREG(status.st_mode) and not status.st_size) or path == "/etc/mtab":
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)


def _metadata(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _is_plain(folder: int, name: str) -> bool:
    """Return whether a folder is empty and hides nothing of the image."""
    inner = openat.open_folder(folder, name)
    try:
        return not any(True for _ in openat.names(inner)) and openat.get_xattr(inner, layer_files.OPAQUE) is None
    finally:
        os.close(inner)
