"""The differences between a container's files and its image: paths that were modified, added or deleted.

Files that the runtime creates in every container (:mod:`runtime.storage.runtime_files`) do not count.  Two sources: the
writable layer of an overlay, which holds only differences, and the comparison of two complete trees.  Directories are
compared by mode and owner, other files by their status.  All functions block.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netd.common.errors import BadRequest
from runtime.kernel import openat, tree
from runtime.storage import runtime_files

MODIFIED, ADDED, DELETED = 0, 1, 2
"""Kinds of changes, as in ``GET /containers/{id}/changes``."""

_OPAQUE = "trusted.overlay.opaque"
_LONGEST_PATH = 3800
"""Bytes of a directory's path: with a name below it, it must fit into the kernel's 4,096."""
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_MOST = 1_000_000
_LARGEST = 64 << 20
"""Bytes of the paths of all changes."""


class Change(NamedTuple):
    path: bytes
    """Absolute in the container."""
    kind: int


def of_upper(upper: int, image: int) -> list[Change]:
    """Return the changes in the writable layer *upper* of an overlay over the tree *image*, sorted by path."""
    return _sorted(_in_upper(upper, image))


def of_trees(root: int, image: int) -> list[Change]:
    """Return the changes from the tree *image* to the tree *root*, sorted by path.

    Below a directory that was added or deleted, only added files are listed.
    """
    return _sorted([*_additions(root, image), *_deletions(root, image)])


def _sorted(changes: Iterable[Change]) -> list[Change]:
    """Return the changes by path, with the directories that contain them."""
    found: dict[bytes, Change] = {}
    size = 0
    for change in changes:
        if change.path in runtime_files.FILES or (change.kind == ADDED and change.path in runtime_files.FOLDERS):
            continue
        found[change.path] = change
        size += len(change.path)
        if len(found) > _MOST or size > _LARGEST:
            raise BadRequest(
                f"the container has more than {_MOST} changed files, or {_LARGEST} bytes of their paths: use netctl"
                " export instead"
            )
    for path in list(found):
        above = path
        while (above := os.path.dirname(above)) != b"/" and above not in found:
            found[above] = Change(above, MODIFIED)
    return sorted(found.values())


def _paths(root: int) -> Iterator[tuple[tree.Step, bytes]]:
    """Walk *root*; yield (step, absolute path) of files and entered directories with paths that can be opened."""
    above, lengths = bytearray(b"/"), array("Q")
    for step in tree.walk(root):
        if step.kind == "leave":
            del above[lengths.pop() :]
            continue
        if len(above) < _LONGEST_PATH:
            yield step, bytes(above) + step.name
        if step.kind == "enter":
            lengths.append(len(above))
            above += step.name + b"/"


def _status(step: tree.Step) -> os.stat_result | None:
    return os.fstat(step.inner) if step.kind == "enter" else openat.lstat(step.folder, step.name)


def _in_image(image: int, path: bytes) -> os.stat_result | None:
    """Return the status of *path* in the image; None if it does not exist there, or below a symbolic link."""
    try:
        handle = openat.open_in(image, path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, links=False)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    try:
        return os.fstat(handle)
    finally:
        os.close(handle)


def _in_upper(upper: int, image: int) -> Iterator[Change]:
    for step, path in _paths(upper):
        if (status := _status(step)) is None:
            continue
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            yield Change(path, DELETED)
            continue
        below = _in_image(image, path)
        if below is None:
            yield Change(path, ADDED)
        elif step.kind != "enter" or not _is_only_copied(status, below, path):
            yield Change(path, MODIFIED)
        if (
            step.kind == "enter"
            and below is not None
            and stat.S_ISDIR(below.st_mode)
            and openat.get_xattr(step.inner, _OPAQUE) == b"y"
        ):
            yield from _hidden(step.inner, image, path)


def _is_only_copied(status: os.stat_result, below: os.stat_result, path: bytes) -> bool:
    """Return whether overlayfs has only copied the directory up, for a change below it."""
    same_time = status.st_mtime_ns == below.st_mtime_ns or path in runtime_files.FOLDERS
    return same_time and _same_directory(status, below)


def _hidden(folder: int, image: int, path: bytes) -> Iterator[Change]:
    """Yield the entries of the image's directory *path* that the opaque directory *folder* does not have."""
    below = openat.open_in(image, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, links=False)
    try:
        for name in openat.names(below):
            if openat.lstat(folder, name) is None:
                yield Change(path + b"/" + os.fsencode(name), DELETED)
    finally:
        os.close(below)


def _additions(root: int, image: int) -> Iterator[Change]:
    for step, path in _paths(root):
        if (status := _status(step)) is None:
            continue
        below = _in_image(image, path)
        if below is None:
            yield Change(path, ADDED)
        elif not _same(status, below):
            yield Change(path, MODIFIED)


def _deletions(root: int, image: int) -> Iterator[Change]:
    gone = b""
    for step, path in _paths(image):
        if gone and path.startswith(gone):
            continue
        now = _in_image(root, path)
        if now is None and not _is_whiteout(step):
            yield Change(path, DELETED)
        if now is None or not stat.S_ISDIR(now.st_mode):
            gone = path + b"/"


def _is_whiteout(step: tree.Step) -> bool:
    """Return whether overlayfs would hide the file: an image of one layer is read without overlayfs."""
    status = _status(step)
    return status is not None and stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _same(status: os.stat_result, below: os.stat_result) -> bool:
    if stat.S_ISDIR(status.st_mode):
        return _same_directory(status, below)
    return (
        _same_directory(status, below)
        and status.st_rdev == below.st_rdev
        and status.st_size == below.st_size
        and status.st_mtime_ns == below.st_mtime_ns
    )


def _same_directory(status: os.stat_result, below: os.stat_result) -> bool:
    return (status.st_mode, status.st_uid, status.st_gid) == (below.st_mode, below.st_uid, below.st_gid)
